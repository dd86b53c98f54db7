// The board's line to the kernel: what is asked and told, whether it answers, and what is known besides the traits.

const BUSY_AFTER = 1000; // ms without an answer, after which the kernel is called busy
const REST = 1500; // ms for which a pressed button takes no second click

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
