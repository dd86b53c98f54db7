// The board: what runs, what is done, the whole account and the history, each on a page of its own.

const BUSY = "The kernel is busy with a cell. What you do here is kept, and happens as soon as the cell has ended; progress goes on.";

const historyElement = (link, row) => {
  const about = row.prompt || row.model;
  const acts = [];
  if (row.file) acts.push(button("Play", () => link.do("look", { keys: [row.id] }), { "aria-label": `Play: ${about}` }));
  else if (row.id && row.status === "succeeded")
    acts.push(link.once("Bring here", () => link.do("attach", { id: row.id }), { "aria-label": `Bring here: ${about}` }));
  if (row.reusable && row.id)
    acts.push(button("Reuse settings", () => link.do("use", { key: row.id }), { "aria-label": `Reuse settings: ${about}` }));
  return h("li", { class: "oxv-job", "data-group": row.status === "succeeded" ? "done" : row.status },
    h("div", { class: "oxv-job-head" }, h("span", { class: "oxv-dot", "aria-hidden": "true" }), h("b", {}, row.word),
      h("span", { class: "oxv-time" }, row.when), h("span", { class: "oxv-faint oxv-money" }, row.money)),
    h("span", { class: "oxv-title", title: row.prompt }, about), h("span", { class: "oxv-faint oxv-meta" }, row.model),
    h("div", { class: "oxv-acts" }, ...acts));
};

const accountElement = (link, row) => {
  const about = row.prompt || row.model;
  const acts = row.key ? [h("span", { class: "oxv-faint" }, "of this kernel")]
    : [link.once("Follow here", () => link.do("attach", { id: row.id }), { "aria-label": `Follow here: ${about}` }),
      link.once("Cancel", () => link.do("attach", { id: row.id, cancel: true }), { "aria-label": `Cancel: ${about}` })];
  return h("li", { class: "oxv-job", "data-group": "runs" },
    h("div", { class: "oxv-job-head" }, h("span", { class: "oxv-dot", "aria-hidden": "true" }), h("b", {}, row.word),
      h("span", { class: "oxv-time" }, row.since ? seconds(link.now() - row.since) : "")),
    h("span", { class: "oxv-title", title: row.prompt }, about), h("span", { class: "oxv-faint oxv-meta" }, row.model),
    h("div", { class: "oxv-acts" }, ...acts));
};

const copyText = async (text, area) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    area.select();
    document.execCommand("copy"); // where the page may not use the clipboard by itself
  }
};

const makeCode = (model) => {
  const area = h("textarea", { class: "oxv-source", readonly: true, rows: 8, spellcheck: "false", "aria-label": "Code" });
  const done = h("span", { class: "oxv-faint", role: "status" });
  let kind = "cell";
  const tabs = { cell: button("Cell", () => draw("cell")), python: button("Python", () => draw("python")) };
  const element = h("section", { class: "oxv-code", "aria-label": "Code that makes this again", hidden: true },
    h("div", { class: "oxv-bar-row" }, tabs.cell, tabs.python,
      button("Copy", async () => { await copyText(area.value, area); setText(done, "Copied."); }), done,
      button("×", () => { show(element, false); }, { class: "oxv-btn oxv-right", "aria-label": "Close the code" })), area);
  const draw = (which) => {
    kind = which;
    for (const [name, tab] of Object.entries(tabs)) tab.setAttribute("aria-pressed", String(name === kind));
    area.value = model.get("code")[kind] || "";
    setText(done, "");
  };
  const update = () => {
    if (!model.get("code").at) return;
    draw(kind);
    show(element, true);
    area.focus();
    element.scrollIntoView({ block: "nearest" });
  };
  return { element, update };
};

// The jobs of this kernel: those without a video above, the videos below, and which two are to be compared.
const makeKernelPage = (model, link) => {
  const jobs = h("ul", { class: "oxv-jobs" }), tiles = h("ul", { class: "oxv-tiles" });
  const keptJobs = new Map(), keptTiles = new Map();
  const counts = h("h3"), done = h("h3"), hint = h("span", { class: "oxv-faint" });
  const cancelAll = link.once("Cancel all", () => link.do("cancel all"));
  const empty = h("p", { class: "oxv-empty" }, "Nothing here yet. Write a prompt and press Generate; the video comes to this place.");
  const queue = h("section", { "aria-label": "Queue" }, h("div", { class: "oxv-head" }, counts, cancelAll), jobs);
  const gallery = h("section", { "aria-label": "Gallery" }, h("div", { class: "oxv-head" }, done, hint), tiles);
  let picked = [];
  const choose = (keys) => {
    picked = keys.slice(-2);
    for (const [key, item] of keptTiles) item.check.checked = picked.includes(key);
    setText(hint, picked.length === 1 ? "Choose a second one to compare." : "");
  };
  const pick = (key, on) => {
    choose([...picked.filter((other) => other !== key), ...(on ? [key] : [])]);
    if (on && picked.length === 2) link.do("look", { keys: picked });
  };
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) link.wantPoster(entry.target.dataset.key);
  }, { rootMargin: "150px" });
  const makeSeen = (row) => {
    const item = makeTile(link, pick)(row);
    seen.observe(item.element);
    return item;
  };
  const draw = () => {
    const rows = Object.values(model.get("jobs")).sort((a, b) => b.order - a.order);
    const finished = rows.filter((row) => row.group === "done");
    const running = rows.filter((row) => RUNNING.has(row.group)).reverse();
    const ended = rows.filter((row) => row.group !== "done" && !RUNNING.has(row.group));
    show(empty, rows.length === 0);
    show(queue, running.length + ended.length > 0);
    show(gallery, finished.length > 0);
    show(cancelAll, running.length > 1);
    const words = [running.length && `${running.length} running`, ended.length && `${ended.length} ended without a video`];
    setText(counts, words.filter(Boolean).join(" · "));
    setText(done, finished.length === 1 ? "1 video" : `${finished.length} videos`);
    arrange(jobs, keptJobs, [...ended, ...running], (row) => row.key, makeJob(link), updateJob(link));
    arrange(tiles, keptTiles, finished, (row) => row.key, makeSeen, updateTile(link));
  };
  const drawShown = () => {
    const shown = model.get("shown");
    for (const [key, item] of keptTiles) item.element.classList.toggle("oxv-shown", shown.includes(key));
    if (!shown.length && picked.length) choose([]);
  };
  const clock = setInterval(() => { for (const item of keptJobs.values()) timeOf(link, item, item.row); }, 1000);
  const poster = (key) => { const item = keptTiles.get(key); if (item) updateTile(link)(item, item.row); };
  const close = () => { clearInterval(clock); seen.disconnect(); };
  return { element: h("div", { class: "oxv-page" }, empty, queue, gallery), draws: { jobs: draw, shown: drawShown }, poster, close };
};

// Rows that were asked for, or what stands in their place.
const listOf = (rows, elementOf, { waits, error, none }) => {
  if (error) return h("p", { class: "oxv-bad" }, error);
  if (rows.length) return h("ul", { class: "oxv-jobs oxv-tall" }, ...rows.map(elementOf));
  return waits ? h("p", { class: "oxv-faint" }, "Asking …") : h("p", { class: "oxv-empty" }, none);
};

const makeHistoryPage = (model, link) => {
  const element = h("div", { class: "oxv-page" });
  const draw = () => {
    const { rows = [], page = 1, more, busy: waits = true, error } = model.get("history");
    const go = (to) => () => link.do("history", { page: to });
    element.replaceChildren(
      listOf(rows, (row) => historyElement(link, row), { waits, error, none: "Nothing on this page." }),
      h("div", { class: "oxv-bar-row" }, button("← Newer", go(page - 1), { disabled: page <= 1 }), h("span", {}, `Page ${page}`),
        button("Older →", go(page + 1), { disabled: !more })));
  };
  const turn = () => { if (!model.get("history").rows) link.do("history", { page: 1 }); };
  return { element, draws: { history: draw }, turn };
};

const makeAccountPage = (model, link) => {
  const element = h("div", { class: "oxv-page" });
  const draw = () => {
    const { rows = [], at, busy: waits = true, error } = model.get("account");
    const title = at ? `${rows.length} running for the whole account` : "Running for the whole account";
    element.replaceChildren(h("div", { class: "oxv-head" }, h("h3", {}, title), button("Look again", () => link.do("account"))),
      listOf(rows, (row) => accountElement(link, row), { waits, error, none: "Nothing runs." }));
  };
  return { element, draws: { account: draw }, turn: () => link.do("account") };
};

// Tabs by the book: one Tab stop, and arrow keys between them.
const makeTabs = (pages, names, aside) => {
  const tabs = {};
  const turn = (name) => {
    for (const other of Object.keys(pages)) {
      show(pages[other].element, other === name);
      tabs[other].setAttribute("aria-selected", String(other === name));
      tabs[other].tabIndex = other === name ? 0 : -1;
    }
    pages[name].turn?.();
  };
  const step = (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const order = Object.keys(tabs);
    const next = order[(order.findIndex((name) => tabs[name] === document.activeElement) + by + order.length) % order.length];
    turn(next);
    tabs[next].focus();
  };
  for (const [name, label] of Object.entries(names)) {
    tabs[name] = button(label, () => turn(name), { class: "oxv-tab", role: "tab" });
    pages[name].element.setAttribute("role", "tabpanel");
    pages[name].element.setAttribute("aria-label", label);
  }
  const element = h("div", { class: "oxv-tabs", role: "tablist", onkeydown: step }, ...Object.values(tabs), aside);
  turn(Object.keys(pages)[0]);
  return element;
};

const makeBoard = (model, link) => {
  const busy = h("div", { class: "oxv-busy", role: "status", hidden: true });
  const said = h("div", { class: "oxv-said", role: "status" });
  const code = makeCode(model);
  const kernel = makeKernelPage(model, link);
  const pages = { kernel, account: makeAccountPage(model, link), history: makeHistoryPage(model, link) };
  const names = { kernel: "This kernel", account: "Whole account", history: "History" };
  const tabs = makeTabs(pages, names, h("span", { class: "oxv-faint oxv-right" }, model.get("service")));
  const drawSaid = () => {
    const { text = "", tone = "plain" } = model.get("said");
    setText(said, text);
    said.dataset.tone = tone;
  };
  const draws = Object.assign({ said: drawSaid }, ...Object.values(pages).map((page) => page.draws));
  for (const draw of Object.values(draws)) draw();
  draws.code = code.update;
  for (const [name, draw] of Object.entries(draws)) model.on(`change:${name}`, draw);
  const element = h("div", { class: "oxv-board" }, busy, said, code.element, tabs, ...Object.values(pages).map((page) => page.element));
  return {
    element,
    busy: (is) => { setText(busy, is ? BUSY : ""); show(busy, is); },
    poster: kernel.poster,
    focus: (field) => focusField(element, field),
    close: () => {
      kernel.close();
      for (const [name, draw] of Object.entries(draws)) model.off(`change:${name}`, draw);
    },
  };
};

export default () => {
  let link;
  return {
    initialize({ model }) {
      link = makeLink(model);
      const hear = (content, buffers) => link.hear(content, buffers);
      model.on("msg:custom", hear);
      return () => {
        model.off("msg:custom", hear);
        for (const url of link.posters.values()) URL.revokeObjectURL(url);
      };
    },
    render({ model, el }) {
      const view = makeBoard(model, link);
      el.append(view.element);
      link.views.add(view);
      model.send({ do: "hello", n: link.sent });
      let leave = null;
      const arrive = () => { if (leave === null && !(leave = el.isConnected ? attend(model, link, el) : null)) again = setTimeout(arrive, 50); };
      let again = requestAnimationFrame(arrive);
      return () => {
        clearTimeout(again);
        cancelAnimationFrame(again);
        leave?.();
        link.views.delete(view);
        if (!link.views.size) model.send({ do: "away" });
        view.close();
      };
    },
  };
};
