"use strict";
// The page works without this script; it adds filters, links that open what they point to, values on hover, copying.
(() => {
  const $ = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const cards = all(".scenario");
  const wordsOf = new Map();
  const words = (card) => {
    if (!wordsOf.has(card)) wordsOf.set(card, card.textContent.toLowerCase());
    return wordsOf.get(card);
  };

  // Filters
  const chosen = new Set();
  const search = $("#search"), tag = $("#tag"), unexpected = $("#unexpected");
  function filter() {
    const wanted = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const card of cards) {
      const fits = (!chosen.size || chosen.has(card.dataset.verdict))
        && (unexpected?.ariaPressed !== "true" || card.dataset.ok === "0")
        && (!tag || !tag.value || JSON.parse(card.dataset.tags ?? "[]").includes(tag.value))
        && wanted.every((word) => words(card).includes(word));
      card.hidden = !fits;
      shown += fits;
    }
    $("#shown").textContent = `${shown} of ${cards.length}`;
    $("#nothing").hidden = shown > 0 || !cards.length;
    label();
  }
  const press = (button, on) => { button.ariaPressed = on ? "true" : "false"; };
  for (const tile of all(".tile")) tile.addEventListener("click", () => {
    const verdict = tile.dataset.verdict;
    chosen.has(verdict) ? chosen.delete(verdict) : chosen.add(verdict);
    press(tile, chosen.has(verdict));
    filter();
  });
  unexpected?.addEventListener("click", () => { press(unexpected, unexpected.ariaPressed !== "true"); filter(); });
  search.addEventListener("input", filter);
  tag?.addEventListener("change", filter);
  const order = $("#order");
  const groups = ["DETAILS", "TR"].map((kind) => cards.filter((card) => card.tagName === kind)).filter((group) => group.length);
  const places = groups.map((group) => group.map((card) => [card.parentElement, card.tagName === "TR" ? null : group.at(-1).nextSibling]));
  const by = {
    time: (a, b) => b.dataset.time - a.dataset.time,
    growth: (a, b) => (b.dataset.growth ?? 0) - (a.dataset.growth ?? 0),
    name: (a, b) => $(".name", a).textContent.localeCompare($(".name", b).textContent),
  };
  order?.addEventListener("change", () => {
    groups.forEach((group, number) => {
      const sorted = by[order.value] ? [...group].sort(by[order.value]) : group;
      sorted.forEach((card, position) => { const [parent, next] = places[number][position]; parent.insertBefore(card, next); });
    });
  });

  // Places that open in the editor that the reader has chosen, here and in later reports
  const editor = $("#editor");
  function edit() {
    for (const place of all(".place")) {
      const { file, line } = place.dataset;
      const known = editor.value && /^(\/|[A-Za-z]:[\\/])/.test(file);
      if (known) place.href = editor.value.replace("{file}", () => encodeURI(file).replace(/[?#&]/g, encodeURIComponent)).replace("{line}", line);
      else place.removeAttribute("href");
    }
  }
  try { editor.value = localStorage.getItem("leakcheck-editor") ?? ""; } catch { /* kept nowhere */ }
  if (editor.selectedIndex < 0) editor.value = "";
  editor.addEventListener("change", () => {
    try { localStorage.setItem("leakcheck-editor", editor.value); } catch { /* kept nowhere */ }
    edit();
  });
  edit();

  // A flame graph: what is chosen becomes as wide as the graph, the outermost box shows all again
  const placed = (box) => { // as it was drawn, in per cent of the width; rows in pixels
    const [left, width] = ["left", "width"].map((name) => parseFloat(box.dataset[name] ??= box.style[name]));
    return { left, width, middle: left + width / 2, row: parseFloat(box.style.top) };
  };
  function zoom(box) {
    const { left, width } = placed(box);
    for (const one of box.parentElement.children) {
      const at = placed(one), from = Math.max(0, (at.left - left) / width), to = Math.min(1, (at.left + at.width - left) / width);
      one.hidden = to - from < 0.001;
      one.style.left = `${from * 100}%`;
      one.style.width = `${(to - from) * 100}%`;
    }
  }
  function beside(box, key) { // the box that an arrow key leads to
    const here = placed(box), shown = all("button:not([hidden])", box.parentElement).filter((one) => one !== box);
    const step = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: 0, ArrowRight: 0 }[key] * 22;
    const row = shown.filter((one) => placed(one).row === here.row + step);
    const within = (inner, outer) => inner.middle > outer.left && inner.middle < outer.left + outer.width;
    if (key === "ArrowUp") return row.find((one) => within(here, placed(one)));
    if (key === "ArrowDown") return row.filter((one) => within(placed(one), here)).sort((a, b) => placed(b).width - placed(a).width)[0];
    const side = row.filter((one) => (placed(one).left < here.left) === (key === "ArrowLeft"));
    return side.sort((a, b) => Math.abs(placed(a).left - here.left) - Math.abs(placed(b).left - here.left))[0];
  }
  function reach(box) { // one box of a graph at a time is reached with Tab
    for (const one of box.parentElement.children) one.tabIndex = one === box ? 0 : -1;
    box.focus();
  }
  document.addEventListener("click", (event) => {
    const box = event.target.closest?.(".flame button");
    if (box) { zoom(box); reach(box); }
  });
  function reset() {
    chosen.clear();
    all(".tile").forEach((tile) => press(tile, false));
    if (unexpected) press(unexpected, false);
    search.value = "";
    if (tag) tag.value = "";
    filter();
  }
  $("#reset").addEventListener("click", () => { reset(); search.focus(); });

  // Opening
  const expand = $("#expand");
  const visible = () => all(".scenario").filter((card) => !card.hidden);
  const opens = () => visible().filter((card) => card.tagName === "DETAILS");
  const allOpen = () => opens().every((card) => card.open);
  function label() { expand.textContent = allOpen() ? "close all" : "open all"; expand.disabled = !opens().length; }
  expand.addEventListener("click", () => { const open = !allOpen(); opens().forEach((card) => { card.open = open; }); label(); });
  cards.forEach((card) => card.addEventListener("toggle", label));
  label();
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])").filter((one) => one.closest(".scenario[data-ok='0']"));
    closed.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));

  // Links to findings and scenarios
  function aim() {
    let name = location.hash.slice(1);
    try { name = decodeURIComponent(name); } catch { /* a stray % is not for us */ }
    const target = name && document.getElementById(name);
    if (!target) return;
    const card = target.closest(".scenario");
    if (card?.hidden) reset();
    for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
    target.scrollIntoView({ block: "start" });
    (target.tagName === "DETAILS" ? $("summary", target) : target).focus({ preventScroll: true });
  }
  addEventListener("hashchange", aim);
  aim();
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='#']");
    if (link && link.getAttribute("href") === location.hash) { event.preventDefault(); aim(); }
  });

  // Copying
  function findingText(finding) {
    const rows = [$("h4", finding).lastChild.textContent.trim()];
    for (const frame of all(".stack > li", finding)) {
      rows.push(`  ${$(".where", frame)?.textContent.trim() ?? frame.textContent.trim()}`);
      const hot = $(".hot", frame)?.lastChild.textContent.trim();
      if (hot) rows.push(`    ${hot}`);
    }
    const path = all(".path code", finding).map((one) => one.textContent).join("");
    if (path) rows.push(`  held by ${path}`);
    rows.push(`  ${$(".hash", finding).textContent}`);
    return rows.join("\n");
  }
  async function copy(text) {
    try { await navigator.clipboard.writeText(text); return true; } catch { /* some browsers refuse this to files */ }
    const box = document.createElement("textarea");
    box.value = text;
    document.body.append(box);
    box.select();
    const done = document.execCommand("copy");
    box.remove();
    return done;
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.(".copy");
    if (!button) return;
    const done = await copy(button.dataset.from === "command" ? button.previousElementSibling.textContent : findingText(button.closest(".finding")));
    button.textContent = done ? "copied" : "select it by hand";
    button.focus();
    setTimeout(() => { button.textContent = "copy"; }, 1600);
  });

  // Colours
  const theme = $("#theme"), modes = ["auto", "light", "dark"];
  const words_ = { auto: "as the system has them", light: "light", dark: "dark" };
  function paint(mode) {
    mode === "auto" ? delete document.documentElement.dataset.theme : (document.documentElement.dataset.theme = mode);
    $("span", theme).textContent = mode;
    theme.ariaLabel = `Colours: ${words_[mode]}`;
    theme.dataset.mode = mode;
  }
  let mode = "auto";
  try { mode = localStorage.getItem("leakcheck-theme") || "auto"; } catch { /* storage may be off */ }
  paint(modes.includes(mode) ? mode : "auto");
  theme.addEventListener("click", () => {
    const next = modes[(modes.indexOf(theme.dataset.mode) + 1) % 3];
    paint(next);
    try { localStorage.setItem("leakcheck-theme", next); } catch { /* then it lasts as long as the page */ }
  });

  // Values on hover, touch and arrow keys
  const tip = $("#tip");
  function say(text, x, y) {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - box.width - 4))}px`;
    tip.style.top = `${y + box.height + 24 > innerHeight ? y - box.height - 10 : y + 16}px`;
  }
  const hush = () => { tip.hidden = true; };
  const short = (value) => Math.abs(value) >= 1000 || value === Math.trunc(value) ? Math.round(value).toLocaleString("en") : value.toPrecision(3);
  function amount(value, unit) {
    if (unit !== "B") return `${short(value)} ${unit}`;
    const names = ["B", "KiB", "MiB", "GiB", "TiB"];
    let step = 0;
    while (Math.abs(value) >= 1023.5 && step < 4) { value /= 1024; step += 1; }
    return `${short(value)} ${names[step]}`;
  }
  const readings = new Map();
  function series(svg) {
    if (!readings.has(svg)) {
      let before = 0; // a reading without a value has that of the one before
      readings.set(svg, svg.dataset.s.split(" ").map((pair) => {
        const [n, value = before] = pair.split(":").map(Number);
        before = value;
        return [n, value];
      }));
    };
    return readings.get(svg);
  }
  function frame(svg) { // first and last iteration, left edge and width of the drawing
    const points = series(svg), [left, width] = (svg.dataset.frame || "4 232").split(" ").map(Number);
    return [points[0][0], points[points.length - 1][0], left, width];
  }
  function pointAt(svg, index) {
    const points = series(svg), [n, value] = points[index], first = points[0][1];
    const [n0, n1, left, width] = frame(svg);
    const x = left + (n - n0) / Math.max(n1 - n0, 1) * width;
    const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
    const change = value - first;
    say(`${n.toLocaleString("en")} iterations: ${amount(value, svg.dataset.u)}${index ? ` (${change > 0 ? "+" : ""}${amount(change, svg.dataset.u)})` : ""}`,
      box.left + x / view.width * box.width, box.top + box.height / 2);
    const cursor = $(".cursor", svg);
    if (cursor) cursor.setAttribute("d", cursor.getAttribute("d").replace(/^M[-\d.]+/, `M${x.toFixed(1)}`));
    svg.dataset.at = index;
  }
  function nearest(svg, clientX) {
    const box = svg.getBoundingClientRect(), [n0, n1, left, width] = frame(svg);
    const n = n0 + ((clientX - box.left) / box.width * svg.viewBox.baseVal.width - left) / width * (n1 - n0);
    let best = 0;
    series(svg).forEach(([at], index, points) => { if (Math.abs(at - n) < Math.abs(points[best][0] - n)) best = index; });
    return best;
  }
  // A timeline: a column is a run
  const runs = JSON.parse($(".timeline")?.dataset.runs ?? "[]");
  function runAt(strip, index) {
    const box = strip.getBoundingClientRect(), at = Math.max(0, Math.min(runs.length - 1, index));
    const said = { 1: "there", 0: "not there", "?": "not measured" }[strip.dataset.states[at]];
    say(`${runs[at]}: ${said}`, box.left + (at + 0.5) / runs.length * box.width, box.bottom);
    strip.dataset.at = at;
  }
  // Where an arrow key leads to among `count` things; the first one from outside, at that end
  function stepped(svg, key, count) {
    const at = svg.dataset.at === undefined ? (key === "ArrowLeft" ? count : -1) : Number(svg.dataset.at);
    return Math.max(0, Math.min(count - 1, { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: count - 1 }[key]));
  }
  document.addEventListener("pointermove", (event) => {
    const strip = event.target.closest?.(".strip");
    if (strip) {
      const box = strip.getBoundingClientRect();
      runAt(strip, Math.floor((event.clientX - box.left) / box.width * runs.length));
      return;
    }
    const svg = event.target.closest?.("svg[data-s]");
    const told = event.target.closest?.("[data-tip], .flame button");
    if (svg) pointAt(svg, nearest(svg, event.clientX));
    else if (told) say(told.dataset.tip ?? told.ariaLabel, event.clientX, event.clientY);
    else if (!document.activeElement?.matches("svg.chart, .strip, .flame button")) hush();
  });
  document.addEventListener("pointerleave", hush);
  addEventListener("scroll", hush, { passive: true });
  document.addEventListener("focusout", hush);
  document.addEventListener("keydown", (event) => {
    const svg = document.activeElement?.closest?.("svg.chart, .strip");
    if (event.key === "Escape") { hush(); if (document.activeElement === search) { search.value = ""; filter(); } return; }
    if (svg && ["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) {
      if (svg.matches(".strip")) runAt(svg, stepped(svg, event.key, runs.length));
      else pointAt(svg, stepped(svg, event.key, series(svg).length));
      event.preventDefault();
      return;
    }
    const box = document.activeElement?.closest?.(".flame button");
    if (box && event.key.startsWith("Arrow")) {
      const next = beside(box, event.key);
      if (next) {
        reach(next);
        const at = next.getBoundingClientRect();
        say(next.ariaLabel, at.left, at.bottom);
      }
      event.preventDefault();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input, select, textarea")) return;
    if (event.key === "/") { search.focus(); event.preventDefault(); }
    if (event.key === "j" || event.key === "k") {
      const list = opens(), here = list.indexOf(document.activeElement?.closest?.(".scenario"));
      const next = list[here < 0 ? 0 : Math.max(0, Math.min(list.length - 1, here + (event.key === "j" ? 1 : -1)))];
      if (next) { $("summary", next).focus(); next.scrollIntoView({ block: "nearest" }); }
    }
  });
})();
