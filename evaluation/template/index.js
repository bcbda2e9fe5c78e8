(() => {
  "use strict";
  const table = document.getElementById("runs");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];

  function value(row, column, numeric) {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    if (text === "") return null;  // undefined: last, whichever way
    return numeric ? Number(text) : text;
  }

  function sort(column) {
    const heading = headings[column];
    const numeric = heading.dataset.sort === "number";
    const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    const compare = numeric ? (a, b) => a - b : (a, b) => a.localeCompare(b, "en", { numeric: true });
    rows.sort((one, other) => {
      const a = value(one, column, numeric), b = value(other, column, numeric);
      if (a === null || b === null) return (a === null) - (b === null);
      return direction * compare(a, b);
    });
    body.append(...rows);
  }

  headings.forEach((heading, column) => {
    if (!heading.dataset.sort) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.addEventListener("click", () => sort(column));
    heading.replaceChildren(button);
  });

  const form = document.getElementById("filters");
  const selects = [...form.querySelectorAll("select")];
  for (const select of selects) {
    const names = new Set(rows.map((row) => row.dataset[select.name]));
    for (const name of [...names].sort()) select.add(new Option(name, name));
  }

  function filter() {
    for (const row of rows) {
      row.hidden = selects.some((select) => select.value && row.dataset[select.name] !== select.value);
    }
    const shown = rows.filter((row) => !row.hidden).length;
    form.querySelector("output").textContent = shown === rows.length ? "" : `${shown} of ${rows.length} runs`;
  }
  form.addEventListener("change", filter);
  form.hidden = false;
  filter();  // a browser that comes back may have kept what was selected
})();
