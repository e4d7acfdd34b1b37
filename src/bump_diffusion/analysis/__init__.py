"""Analysis: from records to tables, phases and verdicts"""
