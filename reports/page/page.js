"use strict";
// Adds what paper cannot have: a line under the pointer with the numbers of that column.
// The page says everything without it.
for (const svg of document.querySelectorAll("svg.timeline")) {
  const readouts = [...svg.querySelectorAll("[data-columns]")].map((node) => {
    const [first, width, ...columns] = node.dataset.columns.split(" ");
    return { node, first: +first, width: +width, columns: columns.flatMap((c) => {
      const [times, column] = c.includes("*") ? c.split("*") : [1, c];
      return Array(+times).fill(column);
    }) };
  });
  if (readouts.length === 0) continue;
  svg.classList.add("live");
  const d = svg.dataset;
  const left = +d.left, width = +d.width, from = +d.from, to = +d.to;
  const cursor = document.createElementNS("http://www.w3.org/2000/svg", "path");
  cursor.setAttribute("class", "cursor");
  svg.append(cursor);
  // As package format prints a time: rounded up, and the finer the shorter it is.
  const time = (us) => {
    if (us === 0) return "none";
    if (us <= 9990) return Math.ceil(us / 10) / 100 + " ms";
    if (us <= 999e3) return Math.ceil(us / 1e3) + " ms";
    if (us <= 59.99e6) return (Math.ceil(us / 1e4) / 100).toFixed(2) + " s";
    const s = Math.ceil(us / 1e6);
    return Math.floor(s / 60) + " min " + s % 60 + " s";
  };
  const clear = () => {
    cursor.setAttribute("d", "");
    for (const r of readouts) r.node.textContent = "";
  };
  svg.addEventListener("pointerleave", clear);
  svg.addEventListener("pointermove", (e) => {
    const box = svg.getBoundingClientRect();
    const x = (e.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    if (x < left || x > left + width) return clear();
    cursor.setAttribute("d", `M${x} ${d.top}V${d.bottom}`);
    const at = from + (x - left) / width * (to - from);
    for (const r of readouts) {
      const column = r.columns[Math.floor((at - r.first) / r.width)];
      if (column === undefined) { r.node.textContent = ""; continue; }
      const [planned, ok, denied, p50, p99] = column.split(",").map(Number);
      r.node.textContent = `${at.toFixed(1)} s: ${ok} of ${planned} ok, ${planned - ok} failed${denied ? ` (${denied} wrongly denied)` : ""}, p50 ${time(p50)}, p99 ${time(p99)}`;
    }
  });
}
