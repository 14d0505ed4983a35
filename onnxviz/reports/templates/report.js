"use strict";
// Sorting and filtering; everything is there without it.
document.documentElement.classList.add("js");

function key(cell) {
  const value = cell.dataset.value;
  if (value !== undefined) return value === "" ? NaN : Number(value);
  const text = cell.textContent.trim();
  return text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}

// Numbers before words, what has none last, whichever the direction.
function compare(a, b, sign) {
  const missing = [a, b].map((one) => one === "" || Number.isNaN(one));
  if (missing[0] || missing[1]) return missing[0] - missing[1];
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b), "en", { numeric: true });
}

function sort(table, column, heading) {
  const ascending = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => [key(row.cells[column]), row]);
  rows.sort((a, b) => compare(a[0], b[0], ascending ? 1 : -1));
  for (const [, row] of rows) body.append(row);
}

for (const table of document.querySelectorAll("table.sortable")) {
  Array.from(table.tHead.rows[0].cells).forEach((heading, column) => {
    if (heading.classList.contains("unsorted")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sort(table, column, heading));
  });
}

// Rows of a table or a section that hold the words and have a severity that is shown; groups without any are hidden.
function filter(target) {
  const place = document.getElementById(target);
  const words = document.querySelector(`input[data-filter="${target}"]`).value.toLowerCase().split(/\s+/);
  const off = new Set(Array.from(
    document.querySelectorAll(`button[data-of="${target}"][aria-pressed="false"]`), (one) => one.dataset.show));
  const rows = Array.from(place.querySelectorAll("tbody tr"));
  let shown = 0;
  for (const row of rows) {
    const group = row.closest(".finding");
    const text = `${group ? group.querySelector("h3").textContent : ""} ${row.textContent}`.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word)) || (group !== null && off.has(group.dataset.severity));
    shown += !row.hidden;
  }
  for (const group of place.querySelectorAll(".finding")) {
    group.hidden = !Array.from(group.querySelectorAll("tbody tr")).some((row) => !row.hidden);
  }
  document.querySelector(`[data-count="${target}"]`).textContent = `${shown} of ${rows.length}`;
}

for (const input of document.querySelectorAll("input[data-filter]")) {
  input.addEventListener("input", () => filter(input.dataset.filter));
}
for (const button of document.querySelectorAll("button[data-show]")) {
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") === "true" ? "false" : "true");
    filter(button.dataset.of);
  });
}
