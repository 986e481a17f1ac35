"use strict";

// Sort a table by the column whose heading is pressed; again: in the other direction.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const isNumber = heading.classList.contains("number");
      const before = heading.getAttribute("aria-sort");
      const direction = before === "ascending" || (!before && isNumber) ? "descending" : "ascending";
      const sign = direction === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const compare = (one, other) => {
        const [first, second] = [key(one), key(other)];
        // Texts can be numbers as well: settings of a sweep, names of classes.
        const areNumbers = isNumber || [first, second].every((text) => text !== "" && Number.isFinite(Number(text)));
        return areNumbers ? Number(first) - Number(second) : first.localeCompare(second);
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort((one, other) => sign * compare(one, other)));
      for (const each of headings) each.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", direction);
    });
  });
}

// Name the cell of a confusion matrix under the pointer, under a finger, or chosen by the arrow keys.
for (const plot of document.querySelectorAll(".plot")) {
  const { names, totals, cells } = JSON.parse(document.getElementById(plot.dataset.cells).textContent);
  const size = names.length;
  const counts = new Map();
  for (let i = 0; i < cells.length; i += 3) counts.set(cells[i] * size + cells[i + 1], cells[i + 2]);
  const tip = plot.querySelector(".tip");
  const [across, down] = plot.querySelectorAll(".guide");
  const output = plot.closest("figure").querySelector("output");
  const atRest = output.textContent;
  let at = [0, 0];

  const describe = (row, column) => {
    const count = counts.get(row * size + column) ?? 0;
    const fraction = totals[row] ? `, ${((100 * count) / totals[row]).toFixed(1)} %` : "";
    const what = row === column ? `${names[row]}, correct` : `${names[row]} \u2192 ${names[column]}`;
    return `${what}: ${count} of ${totals[row]}${fraction}`;
  };
  const show = (row, column) => {
    at = [row, column];
    const [left, top] = [(100 * (column + 0.5)) / size, (100 * (row + 0.5)) / size];
    tip.textContent = output.textContent = describe(row, column);
    tip.hidden = across.hidden = down.hidden = false;
    across.style.top = `${top}%`;
    down.style.left = `${left}%`;
    tip.style.left = `${left}%`;
    tip.style.top = `${top}%`;
    tip.style.transform = `translate(${-left}%, ${top > 15 ? "calc(-100% - 0.8rem)" : "1.2rem"})`;
  };
  const hide = () => {
    tip.hidden = across.hidden = down.hidden = true;
    output.textContent = atRest;
  };
  const point = (event) => {
    const box = plot.getBoundingClientRect();
    const cell = (position, start, length) =>
      Math.min(size - 1, Math.max(0, Math.floor(((position - start) / length) * size)));
    show(cell(event.clientY, box.top, box.height), cell(event.clientX, box.left, box.width));
  };
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  plot.addEventListener("pointermove", point);
  plot.addEventListener("pointerdown", point);
  plot.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
  plot.addEventListener("focusout", hide);
  plot.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    const [row, column] = at.map((value, axis) => value + steps[event.key][axis]);
    show(Math.min(size - 1, Math.max(0, row)), Math.min(size - 1, Math.max(0, column)));
  });
}

for (const button of document.querySelectorAll("button.copy")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    button.textContent = "copied";
  });
}
