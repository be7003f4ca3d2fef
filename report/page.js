// SPDX-License-Identifier: Apache-2.0
// Zooms all pictures of cycles together.  What it places, it places by the rules of chart.py.
"use strict";
(() => {
  const charts = [...document.querySelectorAll("svg.cycles")];
  if (!charts.length) return;
  const first = Number(charts[0].dataset.first), behind = Number(charts[0].dataset.behind);
  let low = first, high = behind, chosen = null;
  // Adding 0 makes 0 of -0.
  const told = (cycles) => (Math.round(cycles) + 0).toLocaleString("en-US");

  function ticks() {
    let step = 1;
    for (let power = 1; ; power *= 10) {
      const found = [1, 2, 5].map((base) => base * power).find((each) => high - low <= 9 * each);
      if (found) { step = found; break; }
    }
    const all = [];
    for (let cycle = Math.ceil(low / step) * step; cycle < high; cycle += step) all.push(cycle);
    return all;
  }

  function element(parent, name, attributes, text) {
    const child = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) child.setAttribute(key, attributes[key]);
    child.textContent = text || "";
    parent.append(child);
  }

  function draw(svg) {
    const { left, right, letter, thin, height, top } = Object.fromEntries(
      ["left", "right", "letter", "thin", "height", "top"].map((name) => [name, Number(svg.dataset[name])]));
    const scale = (right - left) / (high - low), place = (cycle) => left + (cycle - low) * scale;
    const axis = svg.querySelector(".axis");
    axis.replaceChildren();
    for (const cycle of ticks()) {
      const x = place(cycle);
      element(axis, "line", { x1: x, x2: x, y1: top - 4, y2: top + height });
      if (x < right - 22) element(axis, "text", { x, y: top - 8, "text-anchor": "middle" }, told(cycle));
    }
    for (const span of svg.querySelectorAll(".span")) {
      const from = Number(span.dataset.a), to = Number(span.dataset.b), hidden = to < low || from > high;
      span.style.display = hidden ? "none" : "";
      if (hidden) continue;
      span.classList.toggle("thin", (to - from) * scale < thin);
      const x = place(from), width = (to - from) * scale, rect = span.querySelector("rect");
      const text = span.querySelector("text");
      // Browsers draw very wide rectangles badly: what is far outside is cut off.
      const begin = Math.max(x, left - 50), end = Math.min(x + width, right + 50);
      rect.setAttribute("x", begin);
      rect.setAttribute("width", Math.max(end - begin, 0.7));
      if (!text) continue;
      const inner = Math.max(x, left), room = Math.min(x + width, right) - inner;
      const labels = [0, 1, 2].map((depth) => text.getAttribute("data-" + depth)).filter((label) => label !== null);
      text.textContent = labels.find((label) => [...label].length * letter + 6 <= room) || "";
      text.setAttribute("x", inner + room / 2);
    }
  }

  function show(from, to, what) {
    const least = Math.min(20, behind - first), size = Math.min(Math.max(to - from, least), behind - first);
    low = Math.min(Math.max((from + to - size) / 2, first), behind - size);
    high = low + size;
    charts.forEach(draw);
    const text = `${what ? what + ", " : ""}cycles ${told(low)} to ${told(high)}`;
    document.querySelectorAll(".zoom output").forEach((output) => { output.textContent = text; });
  }

  const zoom = (factor, at = (low + high) / 2) => show(at - (at - low) * factor, at + (high - at) * factor);
  const move = (share) => {
    const by = Math.min(Math.max((high - low) * share, first - low), behind - high);
    show(low + by, high + by);
  };
  const actions = { in: () => zoom(0.5), out: () => zoom(2), left: () => move(-0.25), right: () => move(0.25),
    all: () => show(first, behind) };

  function choose(number) {
    chosen = number;
    document.querySelectorAll(".chosen").forEach((each) => each.classList.remove("chosen"));
    document.querySelectorAll(`[data-pass="${number}"]`).forEach((each) => each.classList.add("chosen"));
    document.querySelectorAll("select[data-do=pass]").forEach((each) => { each.value = number; });
  }

  function goTo(number) {
    choose(number);
    const spans = [...charts[0].querySelectorAll(`.span[data-pass="${number}"]`)];
    const from = Math.min(...spans.map((each) => Number(each.dataset.a)));
    const to = Math.max(...spans.map((each) => Number(each.dataset.b)));
    show(from - (to - from) * 0.1, to + (to - from) * 0.1, `pass ${number}`);
  }

  const options = [...document.querySelectorAll("#table-passes tbody tr")].map((row) =>
    [row.dataset.pass, `${row.dataset.pass}: ${row.cells[1].textContent}`]);
  for (const box of document.querySelectorAll(".zoom")) {
    const buttons = box.querySelector(".buttons"), svg = box.querySelector("svg.cycles");
    buttons.hidden = false;
    const select = buttons.querySelector("select");
    for (const [value, text] of options) select.add(new Option(text, value));
    select.addEventListener("change", () => { if (select.value !== "") goTo(select.value); });
    for (const button of buttons.querySelectorAll("button"))
      button.addEventListener("click", actions[button.dataset.do]);
    box.addEventListener("keydown", (event) => {
      if (event.target !== box || event.ctrlKey || event.metaKey || event.altKey) return;
      const name = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", 0: "all" }[event.key];
      if (name) { event.preventDefault(); actions[name](); }
    });
    const cycle = (event) => {
      const box = svg.getBoundingClientRect(), unit = svg.viewBox.baseVal.width / box.width;
      const { left, right } = svg.dataset;
      return low + ((event.clientX - box.left) * unit - left) / (right - left) * (high - low);
    };
    svg.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.shiftKey) return;
      event.preventDefault();
      zoom((event.deltaY || event.deltaX) > 0 ? 1.25 : 0.8, cycle(event));
    }, { passive: false });
    svg.addEventListener("dblclick", (event) => { zoom(0.5, cycle(event)); });
    let held = null, moved = false;
    svg.addEventListener("pointerdown", (event) => { held = cycle(event); moved = false; });
    svg.addEventListener("pointermove", (event) => {
      if (held === null || !(event.buttons & 1)) { held = null; return; }
      const by = held - cycle(event);
      if (Math.abs(by) * 200 < high - low && !moved) return;
      moved = true;
      const most = Math.min(Math.max(by, first - low), behind - high);
      show(low + most, high + most);
    });
    svg.addEventListener("click", (event) => {
      const span = event.target.closest(".span");
      held = null;
      if (moved || !span || !span.dataset.pass) return;
      choose(span.dataset.pass);
      const text = span.querySelector("title").textContent;
      document.querySelectorAll(".zoom output").forEach((output) => { output.textContent = text; });
    });
  }
})();
