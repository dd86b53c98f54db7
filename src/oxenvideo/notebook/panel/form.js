// The form: a model, the fields of its parameters, media, the price and the Generate button.
// The kernel describes the fields and checks the values. An update from the kernel does not replace what was typed after it.

const BUSY = "The kernel is busy with a cell. Your changes are kept and take effect when the cell has ended.";
const BUSY_AFTER = 1000; // ms without an answer, after which the kernel is called busy
const TYPING = 150; // ms after the last key press, when a text is sent
const REPEAT_AFTER = 1500; // ms for which Generate does not submit the same request again
const SAID_FOR = 5000; // ms for which a confirmation is shown
const UPLOAD_PART = 1024 * 1024; // bytes

// Elements are made without HTML strings, so that no text is read as markup.
const h = (tag, props = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
};
const button = (label, onclick, props = {}) => h("button", { type: "button", class: "oxv-btn", onclick, ...props }, label);
const setText = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const show = (element, when) => { element.hidden = !when; };
const newId = () => `oxv-${Math.random().toString(36).slice(2)}`;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

// Keeps the notebook's shortcuts from acting on keys that are pressed in the panel, except for those with Ctrl; but
// Ctrl+Enter is the panel's.
const keepKeys = (root) => {
  const keys = (event) => {
    if (!root.contains(event.target)) return;
    const notebooks = (event.ctrlKey || event.metaKey || event.altKey) && event.key !== "Enter";
    event.target.toggleAttribute("data-lm-suppress-shortcuts", !notebooks);
  };
  const stop = (event) => { if (event.target.hasAttribute("data-lm-suppress-shortcuts")) event.stopPropagation(); };
  // If the focused element is removed or hidden, the panel itself takes the focus.
  let last = null;
  const lost = new MutationObserver(() => {
    const gone = last && (!last.isConnected || last.closest("[hidden]"));
    if (gone && (document.activeElement === document.body || document.activeElement === last)) root.focus({ preventScroll: true });
    if (gone) last = null;
  });
  lost.observe(root, { childList: true, subtree: true, attributes: true, attributeFilter: ["hidden"] });
  root.tabIndex = -1;
  root.addEventListener("focusin", (event) => { last = event.target; });
  const closed = new AbortController(), early = { capture: true, signal: closed.signal };
  window.addEventListener("pointerdown", (event) => { if (!root.contains(event.target)) last = null; }, early);
  window.addEventListener("keydown", keys, early);
  root.addEventListener("keydown", stop);
  return () => { lost.disconnect(); closed.abort(); };
};

// Numbers the messages, calls back when they are answered, and reports a kernel that does not answer.
const makeLink = (model, onBusy) => {
  const link = { sent: 0, done: 0 };
  const waiting = [];
  let late = null;
  const watch = () => { late = setTimeout(() => onBusy(true), BUSY_AFTER); };
  link.send = (what, content = {}, buffers = undefined) => {
    link.sent = Math.max(link.sent + 1, Date.now());
    model.send({ do: what, n: link.sent, ...content }, undefined, buffers);
    if (late === null) watch();
    return link.sent;
  };
  link.after = (n, then) => waiting.push([n, then]);
  link.hear = (n) => {
    link.done = Math.max(link.done, n);
    clearTimeout(late);
    late = null;
    onBusy(false);
    if (link.done < link.sent) watch();
    for (const one of waiting.filter(([sent]) => sent <= link.done)) {
      waiting.splice(waiting.indexOf(one), 1);
      one[1]();
    }
  };
  link.close = () => clearTimeout(late);
  return link;
};

// Fields

// A field with its label and a line for a problem. `set(raw)` shows a value, or the default for undefined.
const wrapField = (field, input, content, set) => {
  const problem = h("div", { class: "oxv-problem", id: newId(), hidden: true });
  const element = h("div", { class: `oxv-field oxv-${field.control}`, "data-field": field.name, title: field.hint }, ...content, problem);
  const fail = (text, tone) => {
    setText(problem, text || "");
    problem.dataset.tone = tone || "";
    show(problem, Boolean(text));
    for (const [name, value] of [["aria-describedby", problem.id], ["aria-invalid", tone === "wrong" ? "true" : null]])
      text && value ? input.setAttribute(name, value) : input.removeAttribute(name);
  };
  return { element, input, set, fail };
};

const makeField = (field, edit) => {
  const id = newId();
  const change = (raw, typing) => edit(field.name, raw, typing);
  const label = h("label", { class: "oxv-label", for: id }, field.label);
  if (field.control === "radio") {
    const group = newId(), labelId = newId();
    const options = field.options.map((text, index) => {
      const input = h("input", { type: "radio", name: group, value: index, onchange: () => change(index) });
      return [input, h("label", { class: "oxv-option" }, input, h("span", {}, text))];
    });
    const strip = h("div", { class: "oxv-strip", role: "radiogroup", "aria-labelledby": labelId }, ...options.map(([, one]) => one));
    const set = (raw = field.default) => options.forEach(([input], index) => { input.checked = index === raw; });
    return wrapField(field, strip, [h("div", { class: "oxv-label", id: labelId }, field.label), strip], set);
  }
  if (field.control === "select") {
    const select = h("select", { id, onchange: () => change(select.selectedIndex) }, ...field.options.map((text) => h("option", {}, text)));
    return wrapField(field, select, [label, select], (raw = field.default) => { select.selectedIndex = raw ?? 0; });
  }
  if (field.control === "checkbox") {
    const check = h("input", { id, type: "checkbox", onchange: () => change(check.checked) });
    return wrapField(field, check, [h("label", { class: "oxv-check" }, check, field.label)], (raw = field.default) => { check.checked = raw === true; });
  }
  if (field.control === "slider") {
    const { min, max, step } = field;
    const range = h("input", { id, type: "range", min, max, step, oninput: () => { number.value = range.value; change(Number(range.value), true); } });
    const number = h("input", { type: "number", min, max, step, "aria-label": field.label, onchange: () => {
      if (number.value === "" || !number.checkValidity()) number.value = range.value;
      range.value = number.value;
      change(Number(number.value));
    } });
    return wrapField(field, range, [label, h("div", { class: "oxv-range" }, range, number)], (raw = field.default) => { range.value = raw; number.value = raw; });
  }
  const text = field.control === "area"
    ? h("textarea", { id, rows: field.rows || 2, placeholder: field.placeholder, oninput: () => change(text.value, true) })
    : h("input", { id, type: "text", placeholder: field.placeholder, oninput: () => change(text.value, true) });
  return wrapField(field, text, [label, text], (raw = "") => { if (text.value !== raw) text.value = raw; });
};

// Shots

const makeShots = (edit) => {
  const problemField = { name: "multi_prompt", control: "shots", hint: "" };
  const list = h("ol", { class: "oxv-shots" });
  let shots = [];
  let bounds = [1, 60, 5];
  const change = (typing) => edit("multi_prompt", shots, typing);
  const rebuild = () => { draw(); change(); };
  const focus = (index) => list.querySelectorAll("textarea")[Math.min(index, shots.length - 1)]?.focus();
  const row = (shot, index) => {
    const number = index + 1, id = newId();
    const text = h("textarea", { id, rows: 2, placeholder: "What this shot shows", oninput: () => { shots[index] = { ...shots[index], prompt: text.value }; change(true); } });
    text.value = shot.prompt || "";
    const seconds = h("input", { type: "number", min: bounds[0], max: bounds[1], value: shot.duration ?? bounds[2], "aria-label": `Seconds of shot ${number}`,
      onchange: () => { if (seconds.value === "" || !seconds.checkValidity()) seconds.value = shots[index].duration ?? bounds[2]; shots[index] = { ...shots[index], duration: Number(seconds.value) }; change(); } });
    const move = (to) => { const [moved] = shots.splice(index, 1); shots.splice(to, 0, moved); rebuild(); focus(to); };
    const tiny = (label, name, act, off) => button(label, act, { class: "oxv-btn oxv-tiny", "aria-label": name, title: name, disabled: off });
    return h("li", { class: "oxv-shot" },
      h("div", { class: "oxv-shot-head" }, h("label", { class: "oxv-label", for: id }, `Shot ${number}`), seconds, h("span", { class: "oxv-faint" }, "s"),
        tiny("↑", `Move shot ${number} up`, () => move(index - 1), index === 0), tiny("↓", `Move shot ${number} down`, () => move(index + 1), index === shots.length - 1),
        tiny("×", `Remove shot ${number}`, () => { shots.splice(index, 1); rebuild(); focus(index); })), text);
  };
  const draw = () => list.replaceChildren(...shots.map(row));
  const add = button("Add a shot", () => { shots.push({ prompt: "" }); rebuild(); focus(shots.length - 1); }, { class: "oxv-btn oxv-quiet" });
  const field = wrapField(problemField, list, [list, add], () => {});
  return { ...field, set: (value, seconds) => { shots = value.map((shot) => ({ ...shot })); bounds = seconds; draw(); } };
};

// Media

const upload = async (link, slot, file, say) => {
  const id = newId(), size = Math.max(1, file.size);
  for (let at = 0; at < size; at += UPLOAD_PART) {
    const part = new DataView(await file.slice(at, at + UPLOAD_PART).arrayBuffer());
    link.send("upload", { parameter: slot.name, upload: id, name: file.name, last: at + UPLOAD_PART >= size }, [part]);
    say(`${file.name}: ${megabytes(Math.min(size, at + UPLOAD_PART))} of ${megabytes(size)} sent`);
  }
};

const makeMedium = (link, slot) => {
  const files = (chosen) => { for (const one of [...chosen].slice(0, slot.many ? undefined : 1)) upload(link, slot, one, (text) => say([text, ""])); };
  const file = h("input", { type: "file", accept: slot.accept, multiple: slot.many, hidden: true, onchange: () => { files(file.files); file.value = ""; } });
  const add = () => {
    if (!name.value.trim()) return name.focus();
    link.send("name", { parameter: slot.name, text: name.value });
    name.value = "";
  };
  const name = h("input", { type: "text", placeholder: "variable, path or URL", "aria-label": `${slot.label}: variable, path or URL`,
    onkeydown: (event) => { if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) add(); } });
  const items = h("ul", { class: "oxv-items" });
  const note = h("div", { class: "oxv-note", role: "status" });
  const say = ([text, tone]) => { setText(note, text); note.dataset.tone = tone; };
  const item = ({ label, thumb }, index) => h("li", { class: "oxv-item", title: label },
    thumb ? h("img", { src: thumb, alt: "" }) : h("span", { class: "oxv-nothumb", "aria-hidden": "true" }, { image: "▣", video: "▶", audio: "♪" }[slot.kind]),
    h("span", { class: "oxv-item-label" }, label),
    button("×", () => link.send("remove", { parameter: slot.name, index }), { class: "oxv-remove", "aria-label": `Remove ${label}` }));
  const choose = button(slot.many ? "Choose files" : "Choose a file", () => file.click(), { "aria-label": `${slot.label}: choose ${slot.many ? "files" : "a file"}` });
  const field = wrapField({ name: slot.name, control: "medium", hint: slot.hint }, name, [
    h("div", { class: "oxv-medium-head" }, h("span", { class: "oxv-label" }, slot.label), h("span", { class: "oxv-faint" }, slot.required ? "required" : slot.many ? "optional, several" : "optional")),
    items, h("div", { class: "oxv-medium-in" }, choose, h("span", { class: "oxv-faint" }, "or"), name, button("Add", add, { "aria-label": `Add ${slot.label}` })), note, file], () => {});
  const over = (is) => (event) => { event.preventDefault(); field.element.classList.toggle("oxv-over", is); };
  field.element.addEventListener("dragover", over(true));
  field.element.addEventListener("dragleave", over(false));
  field.element.addEventListener("drop", (event) => { over(false)(event); files(event.dataTransfer.files); });
  field.element.setAttribute("role", "group");
  field.element.setAttribute("aria-label", slot.label);
  const draw = (now) => { items.replaceChildren(...now.items.map(item)); say(now.note); };
  return { ...field, draw };
};

// The model and the list to choose another from

const makePicker = (link, pick) => {
  const listId = newId();
  let models = null, shown = [], current = "", active = -1;
  const name = h("span");
  const opener = button(name, () => (drawer.hidden ? open() : close()), { class: "oxv-btn oxv-model", "aria-expanded": "false", title: "Choose another model" });
  const about = h("div"), facts = h("div", { class: "oxv-faint" });
  const search = h("input", { type: "text", role: "combobox", "aria-label": "Find", "aria-expanded": "true", "aria-controls": listId, "aria-autocomplete": "list",
    placeholder: "kling, veo, image to video …", oninput: () => draw() });
  const inputs = makeField({ name: "input", control: "radio", label: "Input", options: ["Any", "Text", "Image", "Video", "Sound"], default: 0 }, (_, index) => { wanted = index; draw(); });
  const KINDS = [null, "text", "image", "video", "audio"];
  let wanted = 0;
  const count = h("div", { class: "oxv-label", role: "status" });
  const list = h("div", { class: "oxv-models", role: "listbox", id: listId, "aria-label": "Models", tabindex: "-1" });
  const none = h("p", { class: "oxv-empty", hidden: true });
  const clear = () => { search.value = ""; inputs.set((wanted = 0)); draw(); search.focus(); };
  const drawer = h("div", { class: "oxv-picker", hidden: true }, h("div", { class: "oxv-field" }, h("span", { class: "oxv-label", "aria-hidden": "true" }, "Find"), search),
    inputs.element, count, list, none);
  const matches = (one) => search.value.toLowerCase().split(/\s+/).every((word) => one.text.includes(word)) &&
    (!wanted || (KINDS[wanted] === "text" ? one.inputs.join() === "text" : one.inputs.includes(KINDS[wanted])));
  const activate = (index, scroll = true) => {
    active = index;
    [...list.querySelectorAll("[role=option]")].forEach((one, at) => one.classList.toggle("oxv-active", at === index));
    const found = list.querySelector(".oxv-active");
    if (found && scroll) found.scrollIntoView({ block: "nearest" });
    found ? search.setAttribute("aria-activedescendant", found.id) : search.removeAttribute("aria-activedescendant");
  };
  const option = (one) => h("div", { role: "option", id: newId(), class: "oxv-choice", "aria-selected": String(one.id === current), onclick: () => choose(one) },
    h("span", {}, one.name), h("span", { class: "oxv-faint" }, one.rate));
  const draw = () => {
    if (!models) return;
    const found = models.filter(matches);
    const recent = found.filter((one) => one.recent !== null).sort((a, b) => a.recent - b.recent);
    const groups = [["Recently used", recent]];
    for (const provider of [...new Set(found.map((one) => one.provider))].sort()) groups.push([provider, found.filter((one) => one.provider === provider && one.recent === null)]);
    shown = groups.flatMap(([, some]) => some);
    list.replaceChildren(...groups.filter(([, some]) => some.length).map(([title, some]) => {
      const id = newId();
      return h("div", { role: "group", "aria-labelledby": id }, h("div", { class: "oxv-group", id, role: "presentation" }, title), ...some.map(option));
    }));
    setText(count, `${found.length} model${found.length === 1 ? "" : "s"}`);
    show(list, found.length > 0);
    show(none, !found.length);
    none.replaceChildren(`No model matches ${search.value ? `“${search.value}”` : "this input"}. `, button("Clear the search", clear));
    activate(search.value && found.length === 1 ? 0 : -1);
  };
  const open = () => {
    show(drawer, true);
    opener.setAttribute("aria-expanded", "true");
    draw();
    search.focus();
    search.select();
  };
  const close = () => {
    show(drawer, false);
    opener.setAttribute("aria-expanded", "false");
    opener.focus();
  };
  const choose = (one) => { pick(one.id); link.send("models"); close(); };
  const key = (event) => {
    if (event.key === "Escape") close();
    else if (event.target !== search) return;
    else if (event.key === "ArrowDown") activate(Math.min(active + 1, shown.length - 1));
    else if (event.key === "ArrowUp") activate(Math.max(active - 1, 0));
    else if (event.key === "Enter" && shown[active]) choose(shown[active]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  drawer.addEventListener("keydown", key);
  const set = (model) => {
    current = model.id;
    setText(name, model.name);
    setText(about, model.summary);
    facts.replaceChildren(`${model.facts} · `, h("code", {}, model.id));
    draw();
  };
  inputs.set(0);
  return { element: h("div", { class: "oxv-section" }, opener, h("div", { class: "oxv-about" }, about, facts), drawer), set, list: (now) => { models = now; draw(); } };
};

// The whole form

const makeForm = (model) => {
  let page = model.get("page");
  const pending = new Map(); // texts that are still being typed, by name
  const edited = new Map(); // the number of the message with the latest value, by name
  let typing = null;
  const flush = () => {
    clearTimeout(typing);
    for (const [name, raw] of pending) {
      edited.set(name, name === "multi_prompt" ? link.send("shots", { shots: raw }) : link.send("set", { name, value: raw }));
    }
    pending.clear();
  };
  const edit = (name, raw, stillTyping = false) => {
    pending.set(name, raw);
    page = { ...page, values: { ...page.values, [name]: raw } };
    if (name === "multi_prompt") page.shots = raw;
    if (name === "count") page.count = raw;
    clearTimeout(typing);
    if (stillTyping) typing = setTimeout(flush, TYPING);
    else flush();
    changed();
  };
  const send = (...message) => { flush(); return link.send(...message); };
  const change = (...message) => { changed(); return send(...message); };

  // Parts
  const picker = makePicker({ send }, (id) => change("pick", { id }));
  const styles = makeField({ name: "style", control: "radio", label: "Prompt style", options: ["One prompt", "Shots"], default: 0 },
    (_, index) => change("style", { style: index ? "shots" : "prompt" }));
  const prompt = makeField({ name: "prompt", control: "area", label: "Prompt", rows: 4, placeholder: "A red balloon drifts over a quiet harbour at dawn" }, edit);
  const shots = makeShots(edit);
  const media = h("div", { class: "oxv-media" }), common = h("div", { class: "oxv-fields" }), rest = h("div", { class: "oxv-fields", hidden: true, id: newId() });
  const moreButton = button("", () => toggleMore(), { class: "oxv-btn oxv-quiet oxv-more", "aria-expanded": "false", "aria-controls": rest.id });
  const target = h("div", { class: "oxv-faint" });
  const inputs = h("div", { class: "oxv-inputs" }, picker.element, styles.element, prompt.element, shots.element, media, common, moreButton, rest, target);
  const total = h("b"), how = h("span", { class: "oxv-faint" });
  const countId = newId();
  const count = h("input", { type: "number", min: 1, max: 999, value: 1, id: countId,
    oninput: () => { if (count.value !== "" && count.checkValidity()) edit("count", Number(count.value), true); },
    onchange: () => { count.value = page.count; } });
  const generate = button("Generate", () => press(), { class: "oxv-btn oxv-generate" });
  const said = h("div", { class: "oxv-said-here", role: "status" }), notes = h("div", { class: "oxv-notes" });
  const busy = h("div", { class: "oxv-busy", role: "status", hidden: true });
  const foot = h("div", { class: "oxv-foot" }, h("div", { class: "oxv-price" }, total, how),
    h("div", { class: "oxv-send" }, h("div", { class: "oxv-field oxv-count" }, h("label", { class: "oxv-label", for: countId }, "Videos"), count), generate),
    notes, said, busy,
    h("div", { class: "oxv-links" }, button("Show as code", () => send("code"), { class: "oxv-btn oxv-quiet" }), button("Clear", () => change("clear"), { class: "oxv-btn oxv-quiet", title: "Empty the form; the model stays" })));
  const element = h("section", { class: "oxv-form", "aria-label": "New video" }, inputs, foot);
  const link = makeLink(model, (is) => { setText(busy, is ? BUSY : ""); show(busy, is); });

  const fields = new Map();
  const mediums = new Map();
  const fieldOf = (name) => ({ prompt, multi_prompt: shots })[name] || fields.get(name) || mediums.get(name);

  const toggleMore = () => {
    show(rest, rest.hidden);
    moreButton.setAttribute("aria-expanded", String(!rest.hidden));
    if (!rest.hidden) rest.scrollIntoView({ block: "nearest", behavior: "smooth" });
    shade();
  };
  // A line at the lower edge says that there is more to scroll to.
  const shade = () => {
    inputs.classList.toggle("oxv-below", inputs.scrollHeight - inputs.clientHeight - inputs.scrollTop > 4);
  };
  inputs.addEventListener("scroll", shade, { passive: true });
  const resized = new ResizeObserver(shade);
  for (const one of [inputs, ...inputs.children]) resized.observe(one);

  const place = (container, kept, described, make) => {
    const wanted = described.map((one) => {
      const { items, note, ...fixed } = one;
      const known = kept.get(one.name);
      const made = known && known.made === JSON.stringify(fixed) ? known : { ...make(one), made: JSON.stringify(fixed) };
      kept.set(one.name, made);
      return made.element;
    });
    if (wanted.length !== container.children.length || wanted.some((one, at) => container.children[at] !== one)) container.replaceChildren(...wanted);
  };
  const draws = {
    model: () => picker.set(page.model),
    models: () => picker.list(page.models),
    styles: () => show(styles.element, page.styles),
    prompt: () => show(prompt.element, page.prompt),
    shots: () => {
      show(shots.element, Boolean(page.shots));
      styles.set(page.shots ? 1 : 0);
      if (page.shots) shots.set(page.shots, page.seconds);
    },
    fields: () => {
      for (const name of [...fields.keys()]) if (!page.fields.some((field) => field.name === name)) fields.delete(name);
      place(common, fields, page.fields.filter((field) => !field.more), (field) => makeField(field, edit));
      place(rest, fields, page.fields.filter((field) => field.more), (field) => makeField(field, edit));
      const number = page.fields.filter((field) => field.more).length - 1;
      setText(moreButton, number ? `More settings (${number})` : "Other settings");
    },
    values: () => { for (const [name, field] of [["prompt", prompt], ...fields]) field.set(page.values[name]); },
    media: () => {
      for (const name of [...mediums.keys()]) if (!page.media.some((one) => one.name === name)) mediums.delete(name);
      place(media, mediums, page.media, (one) => makeMedium({ send: change }, one));
      for (const one of page.media) mediums.get(one.name).draw(one);
    },
    count: () => { count.value = page.count; },
    target: () => setText(target, page.target ? `Kept in: ${page.target}` : ""),
    problems: () => {
      for (const [name, field] of [["prompt", prompt], ["multi_prompt", shots], ...fields, ...mediums]) field.fail(...(page.problems[name] || []));
    },
    warnings: () => {
      const lines = page.warnings.map((text) => h("div", { class: "oxv-warning" }, text));
      notes.replaceChildren(...(page.problems[""] ? [h("div", { class: "oxv-bad" }, page.problems[""][0])] : []), ...lines);
    },
    price: () => { setText(total, page.price[0]); setText(how, page.price[1]); },
  };
  const draw = (names) => { for (const name of Object.keys(draws)) if (names.includes(name) && page[name] !== undefined) draws[name](); };

  // Generate. The same request is not sent again while a press is unanswered, and for a while after the answer.
  let pressed = 0, submittedAt = 0, hide = null; // the number of the press that is unanswered, or 0
  const taken = () => pressed > 0 || Date.now() - submittedAt < REPEAT_AFTER;
  const look = () => generate.setAttribute("aria-disabled", String(taken()));
  const say = (text, tone) => {
    clearTimeout(hide);
    setText(said, text);
    said.dataset.tone = tone || "";
    if (tone === "good") hide = setTimeout(() => say(""), SAID_FOR);
  };
  const changed = () => { pressed = submittedAt = 0; look(); say(""); };
  const press = () => {
    if (taken()) return;
    const n = (pressed = send("generate"));
    look();
    say("Submitting …");
    link.after(n, () => {
      if (pressed !== n) return; // the form has changed since
      pressed = 0;
      if (said.textContent === "Submitting …") say("");
      if (said.dataset.tone === "good") submittedAt = Date.now();
      look();
      setTimeout(look, REPEAT_AFTER);
    });
  };
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    press();
  });

  const focus = (name) => {
    const field = fieldOf(name);
    if (!field) return;
    if (rest.contains(field.element) && rest.hidden) toggleMore();
    field.element.scrollIntoView({ block: "nearest" });
    (field.input.matches("input, textarea, select") ? field.input : field.element.querySelector("input:checked, input, textarea, select, button"))?.focus();
  };
  const apply = (content) => {
    const now = { ...content.page };
    const newer = (name) => pending.has(name) || (edited.get(name) || 0) > content.n;
    if (now.values) for (const name of Object.keys({ ...page.values, ...now.values })) if (newer(name)) now.values = { ...now.values, [name]: page.values[name] };
    if (now.shots && newer("multi_prompt")) delete now.shots;
    if (newer("count") || document.activeElement === count) delete now.count;
    if ((now.values || now.media) && content.n >= pressed) changed(); // an update from before the press is part of what was pressed
    page = { ...page, ...now };
    model.set("page", page);
    draw(Object.keys(now));
  };
  const hear = (content) => {
    if (content.is === "update") apply(content);
    else if (content.is === "done") link.hear(content.n);
    else if (content.is === "said") say(content.text, content.tone);
    else if (content.is === "unsaid" && said.textContent === content.text) say("");
    else if (content.is === "focus") focus(content.name);
  };
  draw(Object.keys(page));
  model.on("msg:custom", hear);
  const release = keepKeys(element);
  const close = () => {
    flush();
    model.off("msg:custom", hear);
    resized.disconnect();
    link.close();
    release();
  };
  return { element, close };
};

export default {
  render({ model, el }) {
    const form = makeForm(model);
    if (customElements.get("marimo-anywidget")) el.classList.add("oxv-panel"); // no box is around it there
    el.append(form.element);
    const hello = () => ["hello", "models"].forEach((what) => model.send({ do: what }));
    hello();
    stayLive(model, hello);
    return form.close;
  },
};
