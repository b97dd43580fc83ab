"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";

  // Storage may be forbidden for a file; the page then follows the system each time.
  const remembered = (write) => {
    try {
      return write === undefined ? localStorage.getItem("autodpq-theme") : localStorage.setItem("autodpq-theme", write);
    } catch {
      return null;
    }
  };
  const before = remembered();
  if (before === "dark" || before === "light") root.dataset.theme = before;

  function startTheme() {
    const button = document.getElementById("theme");
    const name = () => (button.textContent = isDark() ? "Light theme" : "Dark theme");
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      remembered(root.dataset.theme);
      name();
    });
    dark.addEventListener("change", name);
    button.hidden = false;
    name();
  }

  // "0.8104 ± 0.0012" by its mean, "[-0.01, +0.02]" by its lower end, "95,938" and "49.1M" as numbers; a dash is none.
  function numberOf(text) {
    const found = /^\[?[<+]?\s*([-\u2212]?[\d,]*\.?\d+(?:e[-+]?\d+)?)\s*([kMG%x]?)/i.exec(text.trim());
    if (!found) return NaN;
    return parseFloat(found[1].replaceAll(",", "").replace("\u2212", "-")) * ({ k: 1e3, M: 1e6, G: 1e9 }[found[2]] ?? 1);
  }

  function sortBody(body, column, direction, numeric) {
    const units = [];
    for (const row of [...body.rows].sort((a, b) => a.dataset.place - b.dataset.place)) {
      if (row.classList.contains("follows") && units.length) units.at(-1).rows.push(row);
      else {
        const text = row.cells[column].textContent.trim();
        units.push({ rows: [row], text, number: numberOf(text), pinned: row.classList.contains("pinned") });
      }
    }
    const last = (unit) => (unit.pinned ? 2 : direction && (numeric ? isNaN(unit.number) : /^[—–-]?$/.test(unit.text)) ? 1 : 0);
    const compare = (a, b) =>
      last(a) - last(b) ||
      (last(a) ? 0 : direction * (numeric ? a.number - b.number : a.text.localeCompare(b.text, "en", { numeric: true })));
    units.sort(compare);
    body.append(...units.flatMap((unit) => unit.rows));
  }

  function startTable(table) {
    const heads = [...table.tHead.rows[0].cells];
    for (const body of table.tBodies) [...body.rows].forEach((row, place) => (row.dataset.place = place));
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: "" }[head.getAttribute("aria-sort")] ?? "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        if (next) head.setAttribute("aria-sort", next);
        const direction = { ascending: 1, descending: -1 }[next] ?? 0;
        const cells = [...table.tBodies].flatMap((body) => [...body.rows].map((row) => row.cells[column].textContent));
        const numeric = head.classList.contains("n") && cells.some((text) => !isNaN(numberOf(text)));
        for (const body of table.tBodies) sortBody(body, column, direction, numeric);
      });
    });
  }

  let tip;
  let shown = null;
  function hide() {
    shown?.classList.remove("on");
    shown = null;
    tip.hidden = true;
  }
  function show(mark) {
    if (mark === shown) return;
    hide();
    shown = mark;
    mark.classList.add("on");
    tip.textContent = mark.getAttribute("aria-label");
    tip.hidden = false;
    const [at, size] = [mark.getBoundingClientRect(), tip.getBoundingClientRect()];
    const left = Math.min(Math.max(8, at.left + at.width / 2 - size.width / 2), root.clientWidth - size.width - 8);
    const above = at.top - size.height - 10;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${above > 4 ? above : at.bottom + 10}px`;
  }

  // The nearest mark within a finger's width: many are small, and some lie on others.
  function nearest(marks, event) {
    const within = event.target.closest?.(".mark:not(.samples)");
    let [found, least] = [null, 22];
    for (const mark of marks) {
      if (mark.classList.contains("samples")) continue;
      const box = mark.getBoundingClientRect();
      const away = Math.hypot(box.left + box.width / 2 - event.clientX, box.top + box.height / 2 - event.clientY);
      if (away < least || (mark === within && away <= least)) [found, least] = [mark, away];
    }
    return found ?? event.target.closest?.(".samples");
  }

  function startMarks(box, marks, find) {
    // One stop for the Tab key; arrows go on from there.
    marks.forEach((mark, index) => {
      mark.setAttribute("tabindex", index ? "-1" : "0");
      if (mark.namespaceURI.endsWith("svg")) mark.setAttribute("role", "img");
      mark.addEventListener("focus", () => show(mark));
      mark.addEventListener("blur", hide);
    });
    const point = (event) => {
      const mark = find(event);
      if (mark) show(mark);
      else hide();
    };
    box.addEventListener("pointermove", point);
    box.addEventListener("pointerdown", point);
    box.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
    box.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const place = marks.indexOf(document.activeElement);
      if (!step || place < 0) return;
      event.preventDefault();
      const next = marks[(place + step + marks.length) % marks.length];
      document.activeElement.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    });
  }

  // A name in the legend brings out its strategy.
  function startLegend(figure) {
    const chart = figure.querySelector("svg.chart");
    for (const entry of figure.querySelectorAll(".legend li")) {
      const name = [...entry.querySelector(".key").classList].at(-1);
      const lit = (on) => {
        chart.classList.toggle("dim", on);
        for (const part of chart.querySelectorAll(`[data-strategy="${name}"]`)) part.classList.toggle("lit", on);
      };
      entry.addEventListener("pointerenter", () => lit(true));
      entry.addEventListener("pointerleave", () => lit(false));
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    tip = document.getElementById("tip");
    startTheme();
    document.querySelectorAll("table.sortable").forEach(startTable);
    for (const chart of document.querySelectorAll("svg.chart")) {
      const marks = [...chart.querySelectorAll(".mark")];
      startMarks(chart, marks, (event) => nearest(marks, event));
      startLegend(chart.closest("figure"));
    }
    for (const table of document.querySelectorAll(".heat")) {
      startMarks(table, [...table.querySelectorAll("td[aria-label]")], (event) => event.target.closest("td[aria-label]"));
    }
    document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
    addEventListener("scroll", hide, { passive: true, capture: true });
    // A link to a run opens its card.
    const open = () => document.getElementById(location.hash.slice(1))?.closest("details")?.setAttribute("open", "");
    addEventListener("hashchange", open);
    open();
  });
})();
