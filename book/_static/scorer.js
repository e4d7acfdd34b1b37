// Prose before the package's reference, and that before its source.
var Scorer = {
  score: ([docname, , , , score]) =>
    docname.startsWith("_modules/") ? score - 2000 : docname.startsWith("book/code") ? score - 1000 : score,
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
