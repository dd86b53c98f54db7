// A job as a row of the queue, and a finished one as a tile of the gallery.

const RUNNING = new Set(["waits", "runs"]);

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
