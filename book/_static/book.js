"use strict";

// What scrolls can be scrolled by keys: it takes the focus, where it is wider than the page.
const SCROLLS = "div.wide, .scrolls, .output, .highlight pre, .math, .bd-article table";
const letKeysScroll = ({ target }) => {
  for (const part of [target, target.parentElement].filter((part) => part.matches(SCROLLS))) {
    const overflow = getComputedStyle(part).overflowX;
    if (part.scrollWidth > part.clientWidth && /auto|scroll/.test(overflow)) {
      part.tabIndex = 0;
    } else {
      part.removeAttribute("tabindex");
    }
  }
};

// The form that writes the command with which a page is made with other parameters.
const PATTERNS = {
  int: /^[-+]?\d+$/,
  float: /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i,
  str: /^[\w.-]+$/,
};
const fits = (value, { kind, least, most, choices }) =>
  PATTERNS[kind].test(value) &&
  (least === "" || Number(value) >= Number(least)) &&
  (most === "" || Number(value) <= Number(most)) &&
  (choices === "" || choices.split(" ").includes(value));
const isChanged = (field) =>
  field.options
    ? !field.selectedOptions[0].defaultSelected
    : field.value.trim() !== field.defaultValue;
const writeCommand = (form) => {
  const command = form.querySelector(".command");
  let [written, fault] = [command.dataset.start, ""];
  for (const field of form.querySelectorAll("[name]")) {
    const isList = "list" in field.dataset;
    const values = isList ? field.value.split(",") : [field.value];
    const trimmed = values.map((value) => value.trim());
    const isWrong = !field.options && !trimmed.every((value) => fits(value, field.dataset));
    field.setAttribute("aria-invalid", isWrong);
    if (isWrong) {
      fault ||= `${field.name} must be ${field.dataset.expected}.`;
    } else if (isChanged(field)) {
      written += isList
        ? ` -p '${field.name}=[${trimmed.join(", ")}]'`
        : ` -p ${field.name}=${trimmed[0]}`;
    }
  }
  command.textContent = written;
  form.querySelector(".fault").textContent = fault;
};

// What a link leads to is unfolded.
const unfoldTarget = () => {
  const target = document.getElementById(location.hash.slice(1));
  let part = target?.querySelector(":scope > details.section") ?? target;
  for (; part; part = part.parentElement) {
    if (part.matches("details")) {
      part.open = true;
    }
  }
  target?.scrollIntoView();
};
addEventListener("hashchange", unfoldTarget);

addEventListener("DOMContentLoaded", () => {
  unfoldTarget();
  for (const cell of document.querySelectorAll(".bd-article td")) {
    cell.classList.toggle("long", cell.textContent.length > 40); // its column is wide
  }
  for (const form of document.querySelectorAll(".rerun form")) {
    form.addEventListener("input", () => writeCommand(form));
    form.addEventListener("submit", (event) => event.preventDefault());
  }
  // Fonts and formulas widen what scrolls long after the page is loaded.
  const sizes = new ResizeObserver((changes) => changes.forEach(letKeysScroll));
  for (const part of document.querySelectorAll(SCROLLS)) {
    [part, ...part.children].forEach((each) => sizes.observe(each));
  }
});
