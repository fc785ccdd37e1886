"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const said = document.getElementById("said");
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const first = head.dataset.first || "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      const sign = order === "ascending" ? 1 : -1;
      const numeric = head.classList.contains("number");
      const value = (row) => row.cells[column].dataset.value;
      const body = table.tBodies[0];
      const rows = [...body.rows].sort((a, b) => {
        const [one, two] = [value(a), value(b)];
        if (one === "" || two === "") return (one === "") - (two === "");
        return sign * (numeric ? one - two : one.localeCompare(two));
      });
      body.append(...rows);
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      if (said) said.textContent = `Sorted by ${button.textContent}, ${order}.`;
    });
  });
}
for (const box of document.querySelectorAll("input[data-model]")) {
  const show = () => {
    for (const line of document.querySelectorAll(`g[data-model="${box.dataset.model}"]`)) {
      line.toggleAttribute("hidden", !box.checked);
    }
  };
  box.addEventListener("change", show);
  show();
}
