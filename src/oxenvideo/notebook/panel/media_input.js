// Media on their way in: drop zones with thumbnails. Files go to the kernel in parts, as a connection has its limits.

const PART = 1024 * 1024;

const slotElement = (model, slot) => {
  const file = h("input", { type: "file", accept: slot.accept, multiple: slot.many, hidden: true, onchange: () => {
    for (const one of file.files) upload(model, slot, one, say);
    file.value = "";
  } });
  const name = h("input", {
    type: "text", class: "oxv-name", placeholder: "variable, path or URL",
    "aria-label": `${slot.label}: variable, path or URL`,
    onkeydown: (event) => event.key === "Enter" && take(),
  });
  const take = () => {
    if (!name.value.trim()) return name.focus();
    model.send({ do: "name", slot: slot.name, text: name.value });
    name.value = "";
  };
  const items = h("ul", { class: "oxv-items" });
  const line = h("div", { class: "oxv-faint", role: "status" });
  const say = (text) => setText(line, text);
  const choose = h("button", { type: "button", class: "oxv-btn", onclick: () => file.click() },
    slot.many ? "Choose files" : "Choose a file");
  const add = h("button", { type: "button", class: "oxv-btn", onclick: take }, "Add");
  const drop = (event) => {
    event.preventDefault();
    element.classList.remove("oxv-over");
    for (const one of [...event.dataTransfer.files].slice(0, slot.many ? undefined : 1)) upload(model, slot, one, say);
  };
  const element = h("div", {
    class: `oxv-slot ${slot.field}`, role: "group", "aria-label": slot.label, title: slot.hint, ondrop: drop,
    ondragover: (event) => { event.preventDefault(); element.classList.add("oxv-over"); },
    ondragleave: () => element.classList.remove("oxv-over"),
  },
  h("div", { class: "oxv-slot-head" }, h("span", { class: "oxv-label" }, slot.label),
    h("span", { class: "oxv-faint" }, slot.needed ? "needed" : slot.many ? "optional, several" : "optional")),
  items, h("div", { class: "oxv-slot-in" }, choose, h("span", { class: "oxv-faint" }, "or"), name, add), line, file);
  return { element, items, say };
};

const upload = async (model, slot, file, say) => {
  const id = `${Date.now()}-${Math.random()}`;
  const size = Math.max(1, file.size);
  for (let at = 0; at < size; at += PART) {
    const part = new DataView(await file.slice(at, at + PART).arrayBuffer());
    const content = { do: "chunk", slot: slot.name, upload: id, name: file.name, last: at + PART >= size };
    model.send(content, undefined, [part]);
    say(`${file.name}: ${megabytes(Math.min(size, at + PART))} of ${megabytes(size)} sent`);
  }
};

const itemElement = (model, slot, item, index) => {
  const picture = item.thumb
    ? h("img", { src: item.thumb, alt: "" })
    : h("span", { class: "oxv-nothumb", "aria-hidden": "true" }, { image: "▣", video: "▶", audio: "♪" }[slot.kind]);
  return h("li", { class: "oxv-item", title: item.label }, picture, h("span", { class: "oxv-item-label" }, item.label),
    h("button", {
      type: "button", class: "oxv-away", "aria-label": `Remove ${item.label}`,
      onclick: () => model.send({ do: "remove", slot: slot.name, index }),
    }, "×"));
};

export default {
  render({ model, el }) {
    const place = h("div", { class: "oxv-slots" });
    let shown = new Map();
    const drawItems = () => {
      const items = model.get("items");
      for (const [name, { slot, items: list, say }] of shown) {
        list.replaceChildren(...(items[name] || []).map((item, index) => itemElement(model, slot, item, index)));
        say(model.get("said")[name] || "");
      }
    };
    const drawSlots = () => {
      shown = new Map(model.get("slots").map((slot) => [slot.name, { slot, ...slotElement(model, slot) }]));
      place.replaceChildren(...[...shown.values()].map(({ element }) => element));
      drawItems();
    };
    model.on("change:slots", drawSlots);
    model.on("change:items change:said", drawItems);
    drawSlots();
    el.append(place);
    return () => {
      model.off("change:slots", drawSlots);
      model.off("change:items change:said", drawItems);
    };
  },
};
