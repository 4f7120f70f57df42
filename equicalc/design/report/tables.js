"use strict";
// Tables of class "sortable": a click on a header sorts by that column, another one
// turns the order around. Empty cells stay at the end.
document.querySelectorAll("table.sortable th").forEach(header => {
  header.onclick = () => {
    const table = header.closest("table"), column = header.cellIndex;
    const up = header.dataset.order !== "up";
    table.querySelectorAll("th").forEach(other => { delete other.dataset.order; });
    header.dataset.order = up ? "up" : "down";
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => compare(a.cells[column].textContent, b.cells[column].textContent, up));
    table.tBodies[0].append(...rows);
  };
});

function compare(a, b, up) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
  return up ? order : -order;
}
