// Search without a server: the index is a script, so that it also works from a file.
(function () {
  "use strict";
  const query = document.querySelector("#query");
  const box = document.querySelector("#hits");
  const home = document.documentElement.dataset.root + "/";
  let engine = null;
  let selected = -1;

  function ready() {
    if (engine) return engine;
    engine = new MiniSearch({
      fields: ["title", "chapter", "text"], storeFields: ["url", "title", "chapter", "text"],
      tokenize: (text) => text.split(/[^\p{L}\p{N}_]+/u).filter(Boolean),
      searchOptions: { boost: { title: 4, chapter: 2 }, prefix: true, fuzzy: (term) => term.length > 4 ? 0.2 : 0, combineWith: "AND" },
    });
    engine.addAll(window.BOOK_INDEX || []);
    return engine;
  }

  // the words around the first hit, with the hits marked; built from nodes, never from HTML
  function excerpt(text, terms) {
    const pattern = new RegExp("(" + terms.map((t) => t.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|") + ")", "giu");
    let start = Math.max(0, text.search(pattern) - 60);
    if (start) start = text.indexOf(" ", start) + 1;
    const piece = (start ? "… " : "") + text.slice(start, start + 170) + (text.length > start + 170 ? " …" : "");
    const span = document.createElement("span");
    piece.split(pattern).forEach((part, k) => {
      if (k % 2) { const mark = document.createElement("mark"); mark.textContent = part; span.append(mark); }
      else span.append(part);
    });
    return span;
  }

  function entry(hit, k) {
    const a = document.createElement("a");
    a.href = home + hit.url;
    a.id = "hit" + k;
    a.setAttribute("role", "option");
    const title = document.createElement("b");
    title.textContent = hit.title;
    const chapter = document.createElement("small");
    chapter.textContent = hit.chapter === hit.title ? "" : hit.chapter;
    a.append(title, chapter, excerpt(hit.text, hit.terms));
    return a;
  }

  function show() {
    const text = query.value.trim();
    const hits = text ? ready().search(text).slice(0, 12) : [];
    box.replaceChildren(...hits.map(entry));
    if (text && !hits.length) {
      const nothing = document.createElement("p");
      nothing.textContent = "Nothing found for “" + text + "”.";
      box.append(nothing);
    }
    box.hidden = !text;
    query.setAttribute("aria-expanded", String(!box.hidden));
    choose(hits.length ? 0 : -1);
  }

  function choose(k) {
    const links = box.querySelectorAll("a");
    selected = links.length ? (k + links.length) % links.length : -1;
    links.forEach((a, j) => a.setAttribute("aria-selected", String(j === selected)));
    if (selected < 0) { query.removeAttribute("aria-activedescendant"); return; }
    query.setAttribute("aria-activedescendant", links[selected].id);
    links[selected].scrollIntoView({ block: "nearest" });
  }

  query.addEventListener("input", show);
  query.addEventListener("focus", () => { if (query.value) show(); });
  query.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && selected >= 0) { box.querySelectorAll("a")[selected].click(); close(); }
    else if (event.key === "Escape") { query.value = ""; close(); query.blur(); }
    else if (event.key === "ArrowDown") { event.preventDefault(); choose(selected + 1); }
    else if (event.key === "ArrowUp") { event.preventDefault(); choose(selected - 1); }
  });
  function close() {
    box.hidden = true;
    query.setAttribute("aria-expanded", "false");
  }
  document.addEventListener("click", (event) => { if (!event.target.closest(".search")) close(); });
  box.addEventListener("click", (event) => { if (event.target.closest("a")) close(); });
  const asked = new URLSearchParams(location.search).get("q");
  if (asked) { query.value = asked; show(); }
})();
