// Search without a server: the index is a script, so that it also works from a file. It comes when it is first used.
(function () {
  "use strict";
  const query = document.querySelector("#query");
  const box = document.querySelector("#hits");
  const home = document.documentElement.dataset.root + "/";
  let engine = null;
  let coming = null;
  let selected = -1;

  const script = (name) => new Promise((loaded, failed) => {
    const tag = document.createElement("script");
    tag.src = home + "assets/" + name;
    tag.onload = loaded;
    tag.onerror = () => failed(new Error(name));
    document.head.append(tag);
  });

  function ready() {
    if (!coming) coming = Promise.all([script("minisearch.js"), script("search-index.js")]).then(build);
    return coming;
  }

  async function build() {
    const made = new MiniSearch({
      fields: ["title", "chapter", "text"], storeFields: ["url", "title", "chapter", "text"],
      tokenize: (text) => text.split(/[^\p{L}\p{N}_]+/u).filter(Boolean),
      searchOptions: { boost: { title: 4, chapter: 2 }, prefix: true, fuzzy: (term) => term.length > 4 ? 0.2 : 0, combineWith: "AND" },
    });
    await made.addAllAsync(window.BOOK_INDEX || [], { chunkSize: 60 });
    engine = made;
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

  // a sentence in place of hits, which is also read aloud
  function say(words) {
    const line = document.createElement("p");
    line.setAttribute("role", "status");
    line.textContent = words;
    box.replaceChildren(line);
    open(true);
    choose(-1);
  }

  function open(yes) {
    box.hidden = !yes;
    query.setAttribute("aria-expanded", String(yes));
  }

  async function show() {
    const text = query.value.trim();
    if (!text) return close();
    if (!engine) {
      say("Loading the index …");
      try { await ready(); } catch (problem) { return say("The index could not be read: assets/" + problem.message); }
      if (query.value.trim() !== text) return;                  // a later call shows what is asked now
    }
    const hits = engine.search(text).slice(0, 12);
    if (!hits.length) return say("Nothing found for “" + text + "”.");
    box.replaceChildren(...hits.map(entry));
    open(true);
    choose(0);
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
  query.addEventListener("focus", () => { if (query.value) show(); else ready().catch(() => {}); });
  query.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && selected >= 0) { box.querySelectorAll("a")[selected].click(); close(); }
    else if (event.key === "Escape") { query.value = ""; close(); query.blur(); }
    else if (event.key === "ArrowDown") { event.preventDefault(); choose(selected + 1); }
    else if (event.key === "ArrowUp") { event.preventDefault(); choose(selected - 1); }
  });
  function close() { open(false); }
  document.addEventListener("click", (event) => { if (!event.target.closest(".search")) close(); });
  box.addEventListener("click", (event) => { if (event.target.closest("a")) close(); });
  const asked = new URLSearchParams(location.search).get("q");
  if (asked) { query.value = asked; show(); }
})();
