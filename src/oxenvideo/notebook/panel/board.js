// The board: what runs, what is done, the history and the account; and what the panel needs of the browser besides:
// messages beside fields, a word while the kernel is busy, and handing over what was typed last.

const BUSY_AFTER = 1000; // ms without an answer, after which the kernel is called busy
const REST = 1500; // ms for which a pressed button takes no second click
const RUNNING = new Set(["waits", "runs"]);
const BUSY = "The kernel is busy with a cell. What you do here is kept, and happens as soon as the cell has ended; progress goes on.";
const MARKS = { done: "✓", failed: "!", unsure: "?", lost: "!", cancelled: "–" };

// One for each widget: what is known besides the traits, shared by all its views.
const makeLink = (model) => {
  const link = { posters: new Map(), asked: new Set(), ahead: 0, views: new Set(), sent: 0, got: 0, late: null, more: false };
  link.ping = () => {
    if (link.sent > link.got) return void (link.more = true);
    link.more = false;
    model.send({ do: "ping", n: ++link.sent });
    link.late = setTimeout(() => link.views.forEach((view) => view.busy(true)), BUSY_AFTER);
  };
  link.do = (what, content = {}) => {
    model.send({ do: what, ...content });
    link.ping();
  };
  // A button that does something once: it rests until the kernel has heard of it, and a moment longer.
  link.once = (label, act, props) => {
    const made = button(label, () => {
      made.disabled = true;
      act();
      link.after(() => setTimeout(() => (made.disabled = false), REST));
    }, props);
    return made;
  };
  link.after = (then) => link.waiting.push([link.more ? link.sent + 1 : link.sent, then]);
  link.waiting = [];
  link.now = () => Date.now() / 1000 + link.ahead;
  link.askPosters = () => {
    if (!link.wanted?.length) return;
    model.send({ do: "posters", keys: link.wanted });
    link.wanted = [];
  };
  link.wantPoster = (key) => {
    if (link.asked.has(key)) return;
    link.asked.add(key);
    if (!link.wanted?.length) setTimeout(link.askPosters, 60);
    (link.wanted ||= []).push(key);
  };
  link.hear = (content, buffers) => {
    if (content.is === "rows") {
      const jobs = { ...model.get("jobs"), ...content.rows };
      for (const key in content.rows) if (content.rows[key] === null) delete jobs[key];
      link.ahead = content.now - Date.now() / 1000;
      model.set("jobs", jobs);
    } else if (content.is === "pong") {
      link.ahead = content.now - Date.now() / 1000;
      link.got = Math.max(link.got, content.n || 0);
      clearTimeout(link.late);
      link.views.forEach((view) => view.busy(false));
      const due = link.waiting.filter(([n]) => n <= link.got);
      link.waiting = link.waiting.filter(([n]) => n > link.got);
      due.forEach(([, then]) => then());
      if (link.more) link.ping();
    } else if (content.is === "settle") {
      // Text that waits behind an earlier change of its field is sent when that one is answered, which was before this.
      setTimeout(() => model.send({ do: "settled", n: content.n }), 0);
    } else if (content.is === "poster" && buffers[0]?.byteLength) {
      link.posters.set(content.key, URL.createObjectURL(new Blob([buffers[0]], { type: "image/jpeg" })));
      link.views.forEach((view) => view.poster(content.key));
    } else if (content.is === "focus") {
      link.views.forEach((view) => view.focus(content.field));
    }
  };
  return link;
};

const makeJob = (link) => () => {
  const dot = h("span", { class: "oxv-dot", "aria-hidden": "true" });
  const word = h("b"), title = h("span", { class: "oxv-title" }), time = h("span", { class: "oxv-time" });
  const meta = h("span", { class: "oxv-faint oxv-meta" }), money = h("span", { class: "oxv-faint oxv-money" });
  const bar = h("progress", { class: "oxv-bar", max: 1, "aria-label": "progress" });
  const error = h("div", { class: "oxv-bad" }), notice = h("div", { class: "oxv-faint" });
  const acts = h("div", { class: "oxv-acts" });
  const element = h("li", { class: "oxv-job" }, h("div", { class: "oxv-job-head" }, dot, word, time, money), title, meta, bar,
    error, notice, acts);
  return { element, dot, word, title, time, meta, money, bar, error, notice, acts, group: null };
};

const jobActs = (link, row) => {
  const about = row.name || row.prompt || row.model;
  const act = (label, what, more = {}) =>
    link.once(label, () => link.do(what, { key: row.key, ...more }), { "aria-label": `${label}: ${about}` });
  if (RUNNING.has(row.group)) return [act("Cancel", "cancel")];
  const rest = [act("Reuse settings", "use"), act("Dismiss", "dismiss")];
  if (row.group === "lost") return [act("Fetch again", "retry"), ...rest];
  if (row.group === "unsure") {
    const place = h("span", {}, button("Send again …", () => place.replaceChildren(
      "It may be made already, and be charged twice. ", act("Send it anyway", "retry", { sure: true }))));
    return [place, ...rest];
  }
  return [act("Retry", "retry"), ...rest];
};

const updateJob = (link) => (item, row) => {
  item.element.dataset.group = row.group;
  item.element.dataset.key = row.key;
  setText(item.word, row.word);
  setText(item.title, [row.name, row.prompt || row.model].filter(Boolean).join(" · "));
  item.title.title = row.prompt;
  setText(item.meta, [row.model, row.details].filter(Boolean).join(" · "));
  setText(item.money, row.money);
  setText(item.error, ["failed", "unsure", "lost"].includes(row.group) ? row.error : "");
  setText(item.notice, row.notice);
  if (item.group !== row.group) item.acts.replaceChildren(...jobActs(link, row));
  item.group = row.group;
  timeOf(link, item, row);
};

const timeOf = (link, item, row) => {
  const running = RUNNING.has(row.group) && row.since;
  const spent = running ? link.now() - row.since : row.took;
  let text = spent === null || spent === undefined ? "" : seconds(spent);
  if (running && row.size) text += ` · ${megabytes(row.received)} of ${megabytes(row.size)}`;
  else if (running && row.expected) text += ` of about ${seconds(row.expected)}`;
  setText(item.time, text);
  show(item.bar, Boolean(running));
  if (!running) return;
  // An expectation is no promise: the bar slows down as it nears the end, and never claims to be there.
  const share = row.size ? row.received / row.size : row.expected ? 1 - Math.exp((-2 * spent) / row.expected) : null;
  if (share === null) item.bar.removeAttribute("value");
  else item.bar.value = Math.min(0.97, share);
};

const makeTile = (link, pick) => (row) => {
  const image = h("img", { alt: "", loading: "lazy" });
  const open = h("button", { type: "button", class: "oxv-open", onclick: () => link.do("look", { keys: [row.key] }) },
    image, h("span", { class: "oxv-play", "aria-hidden": "true" }, "▶"));
  const check = h("input", { type: "checkbox", onchange: () => pick(row.key, check.checked) });
  const title = h("div", { class: "oxv-cap" }), meta = h("div", { class: "oxv-faint" });
  const element = h("li", { class: "oxv-tile", "data-key": row.key }, open, title, meta,
    h("label", { class: "oxv-pick" }, check, "Compare"));
  return { element, image, open, check, title, meta };
};

const updateTile = (link) => (item, row) => {
  const about = row.name || row.prompt || row.model;
  item.open.setAttribute("aria-label", `Open the video: ${about}`);
  item.check.setAttribute("aria-label", `Compare: ${about}`);
  setText(item.title, about);
  item.title.title = row.prompt;
  setText(item.meta, [row.model, row.took ? seconds(row.took) : "", row.money].filter(Boolean).join(" · "));
  const picture = link.posters.get(row.key);
  if (picture && item.image.src !== picture) item.image.src = picture;
};

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

// Messages beside the fields, tied to them for screen readers; and what opened and closed is said the same way.
const annotate = (root, faults) => {
  for (const old of root.querySelectorAll(".oxv-fault")) if (!faults[old.dataset.field]) clearFault(old);
  for (const [name, [text, tone]] of Object.entries(faults)) {
    const field = root.querySelector(`.oxv-form .${CSS.escape(name)}`);
    if (!field) continue;
    let line = field.querySelector(":scope > .oxv-fault");
    if (!line) field.append((line = h("div", { class: "oxv-fault", id: `${name}-${Math.random()}`, "data-field": name })));
    setText(line, text);
    line.dataset.tone = tone;
    const input = field.querySelector("textarea, input:not([type=file]), select, button");
    input?.setAttribute("aria-describedby", line.id);
    input?.setAttribute("aria-invalid", String(tone === "fault"));
  }
  for (const one of root.querySelectorAll(".oxv-form .widget-toggle-button")) one.setAttribute("aria-pressed", String(one.classList.contains("mod-active")));
  for (const handle of root.querySelectorAll(".oxv-form .noUi-handle")) handle.setAttribute("aria-label", handle.closest(".oxv-field").querySelector("label").textContent);
  const opened = { ".oxv-model": !root.querySelector(".oxv-picker.oxv-hidden"), ".oxv-more": Boolean(root.querySelector(".oxv-more.oxv-opened")) };
  for (const [selector, open] of Object.entries(opened)) root.querySelector(selector)?.setAttribute("aria-expanded", String(open));
};

const clearFault = (line) => {
  const input = line.parentElement?.querySelector(`[aria-describedby="${line.id}"]`);
  input?.removeAttribute("aria-describedby");
  input?.removeAttribute("aria-invalid");
  line.remove();
};

// What the form's own widgets do not do: found once the board stands in its panel.
const attend = (model, link, el) => {
  const root = el.closest(".oxv-panel");
  if (!root) return () => {};
  let due = false;
  const soon = () => {
    if (!due) requestAnimationFrame(() => { due = false; annotate(root, model.get("faults")); });
    due = true;
  };
  const form = root.querySelector(".oxv-form");
  const watcher = new MutationObserver(soon);
  watcher.observe(form, { childList: true, subtree: true, attributes: true, attributeFilter: ["class"] });
  const acted = (event) => form.contains(event.target) && link.ping();
  const picked = (event) => {
    const chosen = event.target.closest(".oxv-models select") && (event.type === "click" || event.key === "Enter");
    if (!chosen && !(event.key === "Escape" && event.target.closest(".oxv-picker"))) return;
    model.send({ do: "picked" });
    root.querySelector(".oxv-model").focus();
  };
  // Plain keys are the panel's, for its buttons and lists; those with Ctrl stay the notebook's.
  const keys = (event) => root.contains(event.target) &&
    root.toggleAttribute("data-lm-suppress-shortcuts", !(event.ctrlKey || event.metaKey || event.altKey));
  // A second click on Generate must not even leave the browser: while a cell runs, clicks queue up in the kernel.
  const pressed = (event) => {
    const generate = event.target.closest(".oxv-generate");
    if (!generate) return;
    if (generate.dataset.pressed) return void (event.stopImmediatePropagation(), event.preventDefault());
    generate.dataset.pressed = "1";
    link.ping();
    link.after(() => setTimeout(() => delete generate.dataset.pressed, 300));
  };
  root.addEventListener("click", pressed, true);
  window.addEventListener("keydown", keys, true);
  const heard = { click: [acted, picked], input: [acted], keydown: [picked] };
  for (const [type, all] of Object.entries(heard)) all.forEach((one) => root.addEventListener(type, one));
  model.on("change:faults", soon);
  soon();
  return () => {
    watcher.disconnect();
    root.removeEventListener("click", pressed, true);
    window.removeEventListener("keydown", keys, true);
    for (const [type, all] of Object.entries(heard)) all.forEach((one) => root.removeEventListener(type, one));
    model.off("change:faults", soon);
  };
};

const makeBoard = (model, link) => {
  const busy = h("div", { class: "oxv-busy", role: "status", hidden: true });
  const said = h("div", { class: "oxv-said", role: "status" });
  const code = makeCode(model);
  const jobs = h("ul", { class: "oxv-jobs" }), tiles = h("ul", { class: "oxv-tiles" });
  const keptJobs = new Map(), keptTiles = new Map();
  const counts = h("h3"), done = h("h3"), hint = h("span", { class: "oxv-faint" });
  const cancelAll = link.once("Cancel all", () => link.do("cancel all"));
  const empty = h("p", { class: "oxv-empty" }, "Nothing here yet. Write a prompt and press Generate; the video comes to this place.");
  const queue = h("section", { "aria-label": "Queue" }, h("div", { class: "oxv-head" }, counts, cancelAll), jobs);
  const gallery = h("section", { "aria-label": "Gallery" }, h("div", { class: "oxv-head" }, done, hint), tiles);
  const pages = { kernel: h("div", { class: "oxv-page" }, empty, queue, gallery), account: h("div", { class: "oxv-page" }), history: h("div", { class: "oxv-page" }) };
  let picked = [];
  const pick = (key, on) => {
    picked = [...picked.filter((other) => other !== key), ...(on ? [key] : [])].slice(-2);
    for (const [other, item] of keptTiles) item.check.checked = picked.includes(other);
    drawHint();
    if (on && picked.length === 2) link.do("look", { keys: picked });
  };
  const drawHint = () => setText(hint, picked.length === 1 ? "Choose a second one to compare." : "");
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) link.wantPoster(entry.target.dataset.key);
  }, { rootMargin: "150px" });
  const makeSeen = (row) => {
    const item = makeTile(link, pick)(row);
    seen.observe(item.element);
    return item;
  };
  const drawJobs = () => {
    const rows = Object.values(model.get("jobs")).sort((a, b) => b.order - a.order);
    const open = rows.filter((row) => row.group !== "done");
    const running = open.filter((row) => RUNNING.has(row.group)).reverse();
    const ended = open.filter((row) => !RUNNING.has(row.group));
    const finished = rows.filter((row) => row.group === "done");
    show(empty, rows.length === 0);
    show(queue, open.length > 0);
    show(gallery, finished.length > 0);
    setText(counts, [running.length && `${running.length} running`, ended.length && `${ended.length} ended without a video`].filter(Boolean).join(" · "));
    show(cancelAll, running.length > 1);
    setText(done, finished.length === 1 ? "1 video" : `${finished.length} videos`);
    arrange(jobs, keptJobs, [...ended, ...running], (row) => row.key, makeJob(link), updateJob(link));
    arrange(tiles, keptTiles, finished, (row) => row.key, makeSeen, updateTile(link));
  };
  const drawShown = () => {
    const shown = model.get("shown");
    for (const [key, item] of keptTiles) item.element.classList.toggle("oxv-shown", shown.includes(key));
    if (!shown.length && picked.length) { picked = []; pick("", false); }
  };
  const drawSaid = () => {
    const { text = "", tone = "plain" } = model.get("said");
    setText(said, text);
    said.dataset.tone = tone;
  };
  const drawHistory = () => {
    const { rows = [], page = 1, more, busy: waits = true, error } = model.get("history");
    const list = h("ul", { class: "oxv-jobs oxv-tall" }, ...rows.map((row) => historyElement(link, row)));
    const go = (to) => () => link.do("history", { page: to });
    pages.history.replaceChildren(
      error ? h("p", { class: "oxv-bad" }, error) : waits && !rows.length ? h("p", { class: "oxv-faint" }, "Asking …")
        : rows.length ? list : h("p", { class: "oxv-empty" }, "Nothing on this page."),
      h("div", { class: "oxv-bar-row" }, button("← Newer", go(page - 1), { disabled: page <= 1 }), h("span", {}, `Page ${page}`),
        button("Older →", go(page + 1), { disabled: !more })));
  };
  const drawAccount = () => {
    const { rows = [], at, busy: waits, error } = model.get("account");
    pages.account.replaceChildren(
      h("div", { class: "oxv-head" }, h("h3", {}, at ? `${rows.length} running for the whole account` : "Running for the whole account"),
        button("Look again", () => link.do("account"))),
      error ? h("p", { class: "oxv-bad" }, error) : waits ? h("p", { class: "oxv-faint" }, "Asking …")
        : rows.length ? h("ul", { class: "oxv-jobs oxv-tall" }, ...rows.map((row) => accountElement(link, row)))
          : h("p", { class: "oxv-empty" }, "Nothing runs."));
  };
  const tabs = {};
  const turn = (name) => {
    for (const [other, page] of Object.entries(pages)) {
      show(page, other === name);
      tabs[other].setAttribute("aria-selected", String(other === name));
      tabs[other].tabIndex = other === name ? 0 : -1;
    }
    if (name === "history" && !model.get("history").rows) link.do("history", { page: 1 });
    if (name === "account") link.do("account");
  };
  const names = { kernel: "This kernel", account: "Whole account", history: "History" };
  for (const [name, label] of Object.entries(names)) {
    tabs[name] = button(label, () => turn(name), { class: "oxv-tab", role: "tab" });
    pages[name].setAttribute("role", "tabpanel");
    pages[name].setAttribute("aria-label", label);
  }
  const list = h("div", { class: "oxv-tabs", role: "tablist", onkeydown: (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const order = Object.keys(tabs);
    const next = order[(order.findIndex((name) => tabs[name] === document.activeElement) + step + order.length) % order.length];
    turn(next);
    tabs[next].focus();
  } }, ...Object.values(tabs), h("span", { class: "oxv-faint oxv-right" }, model.get("service")));
  const element = h("div", { class: "oxv-board" }, busy, said, code.element, list, ...Object.values(pages));
  const clock = setInterval(() => { for (const item of keptJobs.values()) timeOf(link, item, item.row); }, 1000);
  const draws = { jobs: drawJobs, shown: drawShown, said: drawSaid, history: drawHistory, account: drawAccount, code: code.update };
  for (const [name, draw] of Object.entries(draws)) model.on(`change:${name}`, draw);
  [drawJobs, drawShown, drawSaid, drawHistory, drawAccount].forEach((draw) => draw());
  turn("kernel");
  return {
    element,
    busy: (is) => { setText(busy, is ? BUSY : ""); show(busy, is); },
    poster: (key) => { const item = keptTiles.get(key); if (item) updateTile(link)(item, item.row); },
    focus: (field) => focusField(element, field),
    close: () => {
      clearInterval(clock);
      seen.disconnect();
      for (const [name, draw] of Object.entries(draws)) model.off(`change:${name}`, draw);
    },
  };
};

const focusField = (element, field) =>
  element.closest(".oxv-panel")
    ?.querySelector(`.oxv-form .${CSS.escape(field)} :is(textarea, input:not([hidden]), select, button)`)?.focus();

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
