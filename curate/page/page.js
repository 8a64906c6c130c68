(() => {
"use strict";
const one = (s, r = document) => r.querySelector(s), all = (s, r = document) => [...r.querySelectorAll(s)];
const make = (tag, cls, text) => { const e = document.createElement(tag); if (cls) e.className = cls; if (text != null) e.textContent = text; return e; };
const say = text => { one(".said").textContent = text; };
const unpack = id => {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent.trim()), c => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).text();
};

// Tables: a button in every head sorts by data-v, else by text; a second press turns the order round.
for (const table of all("table[data-sort]")) {
  const heads = all("thead th", table);
  heads.forEach((head, column) => {
    const button = make("button", "", head.textContent);
    button.type = "button";
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      const key = row => { const c = row.cells[column]; return c.dataset.v ?? c.textContent.trim(); };
      const body = table.tBodies[0];
      [...body.rows].map((row, i) => [key(row), i, row]).sort(([a, i], [b, j]) => {
        if (a === "" || b === "") return (a === "") - (b === "") || i - j;
        const d = isNaN(a) || isNaN(b) ? String(a).localeCompare(b) : a - b;
        return (up ? d : -d) || i - j;
      }).forEach(([, , row]) => body.append(row));
      heads.forEach(h => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      say(`Sorted by ${button.textContent}, ${up ? "ascending" : "descending"}.`);
    });
  });
}

// Charts: the still drawing is replaced by a live one when it comes into view.
let library, specs;
const palette = JSON.parse(one("#palette").textContent);
const alive = async box => {
  library ??= unpack("chart-code").then(code => { document.head.append(Object.assign(make("script"), { textContent: code })); });
  specs ??= unpack("chart-specs").then(JSON.parse);
  await library;
  let text = JSON.stringify((await specs)[box.dataset.chart]);
  const style = getComputedStyle(document.documentElement);
  for (const hex in palette) text = text.replaceAll(hex, style.getPropertyValue(palette[hex]).trim());
  const stage = make("div");
  stage.style.width = "100%";
  const still = one(".still", box);
  if (still) { stage.style.cssText += ";position:absolute;visibility:hidden;width:" + box.clientWidth + "px"; box.append(stage); }
  else box.replaceChildren(stage);
  const busy = box.dataset.image ? "canvas" : "svg";
  const { view } = await vegaEmbed(stage, JSON.parse(text), { actions: false, ast: true, renderer: busy, defaultStyle: false, tooltip: { disableDefaultStyle: true } });
  stage.style.cssText = "width:100%";
  for (const inner of all("[role]", stage)) { inner.removeAttribute("role"); inner.removeAttribute("aria-roledescription"); }
  for (const drawn of all("canvas,svg", stage)) { drawn.setAttribute("role", "img"); drawn.setAttribute("aria-label", box.dataset.label); }
  still?.remove();
  box.view = view;
  if (busy === "canvas") {
    const bar = make("p", "zoom");
    for (const [name, by] of [["Zoom in", .6], ["Zoom out", 1 / .6], ["Whole map", 0]]) {
      const button = make("button", "more", name);
      button.type = "button";
      button.onclick = () => {
        for (const axis of ["x", "y"]) {
          const [low, high] = view.scale(axis).domain(), middle = (low + high) / 2, half = (high - low) / 2 * by;
          view.signal("zoom_" + axis, by ? [middle - half, middle + half] : null);
        }
        view.run();
      };
      bar.append(button);
    }
    stage.append(bar);
  }
  box.dataset.live = "1";
};
const boxes = one("#chart-code") ? all("[data-chart]") : [];
if (boxes.length && "DecompressionStream" in window) {
  const watch = new IntersectionObserver(seen => seen.forEach(e => { if (e.isIntersecting) { watch.unobserve(e.target); alive(e.target); } }), { rootMargin: "100px" });
  const begin = () => boxes.forEach(b => watch.observe(b));
  addEventListener("load", () => (window.requestIdleCallback ?? setTimeout)(begin));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => boxes.filter(b => b.dataset.live).forEach(alive));
}

// A link to a folded part opens it.
const unfold = () => { const part = document.getElementById(decodeURIComponent(location.hash.slice(1))); if (part?.tagName === "DETAILS") part.open = true; };
addEventListener("hashchange", unfold);
unfold();

// Copy buttons.
for (const button of all(".copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = button.previousElementSibling;
    try { await navigator.clipboard.writeText(source.textContent); say("Copied."); button.textContent = "Copied"; }
    catch { getSelection().selectAllChildren(source); say("Selected; press Ctrl+C to copy."); }
  });
}

// Generations: the first stand in the page, the rest come from one compressed block; filter, search, permalink.
const list = one("#generations-list");
if (list && "DecompressionStream" in window) {
  const tools = one("#generation-tools"), count = one("output", tools), more = one("#more");
  const [run, metric, state, search] = ["show-run", "by-metric", "by-state", "by-text"].map(id => document.getElementById(id));
  const STEP = 20, CODE = /(#[^\n]*|\/\/[^\n]*|\/\*[\s\S]*?\*\/)|("""[\s\S]*?"""|'''[\s\S]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|\b(\d[\w.]*)\b|\b(and|as|async|await|break|case|catch|class|const|continue|def|del|elif|else|except|export|extends|finally|fn|for|from|func|function|if|import|in|is|lambda|let|match|new|not|null|None|or|pass|public|private|raise|return|static|struct|switch|this|throw|try|True|False|true|false|type|using|var|void|while|with|yield|SELECT|FROM|WHERE|JOIN)\b/g;
  const paint = (text, into) => {
    let at = 0;
    for (const m of text.matchAll(CODE)) {
      into.append(text.slice(at, m.index), make("span", "csnk"[m.slice(1).findIndex(Boolean)], m[0]));
      at = m.index + m[0].length;
    }
    into.append(text.slice(at));
  };
  let data, shown = STEP, found = [];
  const built = new Map(all("article.prompt", list).map(a => [a.id, a]));
  const load = () => data ??= unpack("generations").then(JSON.parse);
  const build = (d, p) => {
    const box = make("article", "prompt");
    box.id = "p-" + p.id;
    const link = make("a", "", "permalink");
    link.href = "#" + box.id;
    const note = make("p", "note", (p.language ? p.language + " · " : "") + p.id + " · ");
    note.append(link);
    const gens = make("div", "gens");
    p.outputs.forEach((o, i) => {
      const gen = make("section", "gen"), head = make("h4", "", d.models[i]), pre = make("pre"), marks = make("ul", "marks");
      gen.dataset.model = i;
      head.append(make("span", "", o.note));
      for (const [kind, text] of o.text) {
        const part = make(kind & 2 ? "s" : "span");
        if (kind & 1 && text.length < 2e4) paint(text, part); else part.textContent = text;
        pre.append(part);
      }
      o.marks.forEach(m => marks.append(make("li", "", m)));
      gen.append(head, pre, marks);
      gens.append(gen);
    });
    box.append(make("h3", p.prompt.includes("\n") ? "long" : "", p.prompt), note, gens);
    return box;
  };
  const words = p => { const a = built.get("p-" + p.id); return a ? a.textContent : p.prompt + p.outputs.map(o => o.text.map(t => t[1]).join("")).join("\n"); };
  const draw = async keep => {
    const d = await load(), r = +run.value, m = metric.value, want = search.value.trim().toLowerCase();
    found = d.prompts.filter(p => {
      if (want && !(p.words ??= words(p).toLowerCase()).includes(want)) return false;
      if (m === "") return true;
      const v = p.outputs[r].scores[m];
      return state.value === "none" ? v == null : v != null && (v >= 0.5) === (state.value === "high");
    });
    if (!keep) shown = STEP;
    list.replaceChildren(...found.slice(0, shown).map(p => {
      const id = "p-" + p.id;
      if (!built.has(id)) built.set(id, build(d, p));
      const box = built.get(id);
      all(".gen", box).forEach(g => {
        g.hidden = +g.dataset.model !== 0 && +g.dataset.model !== r;
        if (!g.hidden) all(".plain", g).forEach(e => { const t = e.textContent; e.className = ""; e.textContent = ""; paint(t, e); });
      });
      return box;
    }));
    count.textContent = `${found.length} of ${d.prompts.length} prompts`;
    more.hidden = found.length <= shown;
  };
  const visit = async () => {
    const id = decodeURIComponent(location.hash.slice(1));
    if (!id.startsWith("p-")) return;
    const d = await load();
    if (!d.prompts.some(p => "p-" + p.id === id)) return;
    if (!found.some(p => "p-" + p.id === id)) { metric.value = search.value = ""; await draw(); }
    shown = Math.max(shown, found.findIndex(p => "p-" + p.id === id) + 1);
    await draw(true);
    document.getElementById(id).scrollIntoView();
  };
  tools.hidden = false;
  all(".gen", list).forEach(g => { g.hidden = g.dataset.model !== "0" && g.dataset.model !== run.value; });
  more.hidden = +tools.dataset.total <= STEP;
  [run, metric, state].forEach(e => e.addEventListener("change", () => draw()));
  let wait;
  search.addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(draw, 120); });
  more.addEventListener("click", () => { shown += STEP; draw(true); });
  addEventListener("hashchange", visit);
  visit();
}
document.documentElement.dataset.ready = "1";
})();
