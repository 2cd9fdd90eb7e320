"use strict";
/* Viewers of pictures: sorting, filtering, grouping, and the large picture. The form of a viewer is its state, and
   what differs from the form's defaults is in the page's address, so that a view can be mailed. */

const NEAR = 28; // pixels of the screen around a joint in which it is meant
const SWIPE = 50; // pixels that a finger has to move
const ON = "on";
const OFF = "off";
const SVG = "http://www.w3.org/2000/svg";

function makeElement(name, text, className) {
  const element = document.createElement(name);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

function formatValue(value) {
  return value === null || value === undefined ? "–" : String(Number(value.toPrecision(3)));
}

function readField(field) {
  if (field.type === "checkbox") return field.checked ? ON : OFF;
  return field.value;
}

function writeField(field, value) {
  if (field.type === "checkbox") field.checked = value === ON;
  else field.value = value;
}

function isChanged(field) {
  return readField(field) !== field.initial;
}

function countPictures(count) {
  return count === 1 ? "1 picture" : `${count} pictures`;
}

/* Unknown numbers are last, whichever end comes first. */
function compareNumbers(a, b, isHighFirst) {
  if (a === null || b === null) return (a === null) - (b === null);
  return isHighFirst ? b - a : a - b;
}

class Viewer {
  constructor(root) {
    this.root = root;
    this.data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    this.form = root.querySelector("form");
    this.list = root.querySelector(".cards");
    this.dialog = root.querySelector("dialog");
    this.stage = root.querySelector(".stage");
    this.cards = [...this.list.children];
    // Numbers as readers see them: a limit that was read in a caption includes its picture. NaN where unknown.
    this.captions = this.cards.map((card) => [...card.querySelectorAll("dd")].map((value) => Number(value.textContent)));
    this.shown = this.cards.map((_, index) => index); // positions of the pictures in view, in their order
    this.open = null; // position of the large picture
    this.marked = ""; // the joint that stands out in all pictures
    this.fields = [...this.form.elements].filter((field) => field.name && field.localName !== "output");
    for (const field of this.fields) {
      field.initial = readField(field);
    }
    this.listen();
    this.form.hidden = false;
    if (matchMedia("(max-width: 600px)").matches) root.querySelector(".filters").open = false;
    this.readAddress();
  }

  listen() {
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", (event) => {
      if (event.target.name === "joint") this.sortByJoint();
      this.update();
    });
    this.form.addEventListener("reset", (event) => {
      event.preventDefault(); // a browser resets the form only after this event
      for (const field of this.fields) writeField(field, field.initial);
      this.update();
      this.form.querySelector("summary").focus(); // the button that had the focus is hidden now
    });
    this.cards.forEach((card, index) => {
      card.querySelector("button").addEventListener("click", () => this.show(index));
    });
    this.dialog.querySelector(".close").addEventListener("click", () => this.dialog.close());
    this.dialog.querySelector(".previous").addEventListener("click", () => this.step(-1));
    this.dialog.querySelector(".next").addEventListener("click", () => this.step(1));
    for (const button of this.dialog.querySelectorAll("[data-switch]")) {
      button.addEventListener("click", () => this.switchLayer(button.dataset.switch));
    }
    this.dialog.addEventListener("close", () => this.finishShowing());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close(); // outside of its content
    });
    this.stage.addEventListener("pointermove", (event) => this.pointAt(event));
    this.stage.addEventListener("pointerdown", (event) => this.startSwipe(event));
    this.stage.addEventListener("pointerup", (event) => this.endSwipe(event));
    this.stage.addEventListener("pointerleave", () => this.nameJoint(null));
  }

  /* ---- state: the form and the address */

  getField(name) {
    return this.fields.find((field) => field.name === name);
  }

  getValue(name) {
    const field = this.getField(name);
    return field ? field.value : "";
  }

  readAddress() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    for (const field of this.fields) {
      writeField(field, wanted.get(`${this.data.key}.${field.name}`) ?? field.initial);
      // A link from another page may name what there is not here.
      if (field.localName === "select" && field.selectedIndex < 0) writeField(field, field.initial);
    }
    this.update();
    const id = wanted.get(`${this.data.key}.open`);
    const index = this.data.pictures.findIndex((picture) => picture.id === id);
    if (index >= 0) this.show(index);
    else if (this.dialog.open) this.dialog.close();
  }

  writeAddress() {
    const address = new URLSearchParams(location.hash.slice(1));
    const write = (name, value) => {
      if (value === null) address.delete(`${this.data.key}.${name}`);
      else address.set(`${this.data.key}.${name}`, value);
    };
    for (const field of this.fields) {
      write(field.name, isChanged(field) ? readField(field) : null);
    }
    write("open", this.open === null ? null : this.data.pictures[this.open].id);
    try {
      history.replaceState(null, "", `#${address}`);
    } catch {
      // Some browsers allow only so many changes of the address in a while.
    }
  }

  /* ---- the grid */

  update() {
    this.nameJointOrder();
    this.shown = this.data.pictures.map((_, index) => index).filter((index) => this.isWanted(index));
    this.sort();
    this.list.replaceChildren(...this.arrange());
    this.markJoint();
    this.showLayers();
    const total = this.cards.length;
    const part = this.shown.length === total ? "" : `${this.shown.length} of `;
    this.form.elements.count.value = part + countPictures(total);
    this.form.querySelector("[type=reset]").hidden = !this.fields.some(isChanged);
    this.writeAddress();
  }

  isWanted(index) {
    const picture = this.data.pictures[index];
    if (!picture.id.toLowerCase().includes(this.getValue("name").toLowerCase())) return false;
    const joint = this.getValue("joint");
    if (joint !== "" && (picture.values?.[joint] ?? null) === null) return false;
    for (const [place, word] of this.data.words.entries()) {
      const value = this.getValue(`word.${word.key}`);
      if (value !== "" && picture.words[place] !== value) return false;
    }
    for (const [place, number] of this.data.numbers.entries()) {
      const value = this.captions[index][place];
      const least = this.getValue(`least.${number.key}`);
      const most = this.getValue(`most.${number.key}`);
      if (least !== "" && !(value >= Number(least))) return false;
      if (most !== "" && !(value <= Number(most))) return false;
    }
    return true;
  }

  sort() {
    const key = this.getValue("sort");
    const isJoint = key === "joint";
    const place = this.data.numbers.findIndex((number) => number.key === key);
    if (!isJoint && place < 0) return;
    const number = isJoint ? this.data.jointValue : this.data.numbers[place];
    const joint = this.getValue("joint");
    const values = this.data.pictures.map((picture) => (isJoint ? picture.values?.[joint] ?? null : picture.numbers[place]));
    const isHighFirst = (number.worse === "high") === (this.getValue("order") === "worst");
    this.shown.sort((a, b) => compareNumbers(values[a], values[b], isHighFirst));
  }

  /* The cards in view, with a heading before each group. */
  arrange() {
    const place = this.data.words.findIndex((word) => word.key === this.getValue("group"));
    this.list.classList.toggle("grouped", place >= 0);
    if (place < 0) return this.shown.map((index) => this.cards[index]);
    const word = this.data.words[place];
    // Groups are in the order in which the page has them, however their pictures are sorted.
    const groups = new Map(this.data.pictures.map((picture) => [picture.words[place], []]));
    for (const index of this.shown) groups.get(this.data.pictures[index].words[place]).push(index);
    this.shown = [...groups.values()].flat();
    const items = [];
    for (const [value, members] of groups) {
      if (!members.length) continue;
      const item = makeElement("li", "", "group");
      const heading = makeElement("h3", value);
      const note = word.notes[value] ? ` · ${word.notes[value]}` : "";
      heading.append(" ", makeElement("small", `${members.length}${note}`));
      item.append(heading);
      items.push(item, ...members.map((index) => this.cards[index]));
    }
    return items;
  }

  sortByJoint() {
    if (this.getValue("joint") !== "") this.getField("sort").value = "joint";
  }

  /* Readers can sort by a joint when they have chosen one. */
  nameJointOrder() {
    const option = this.form.querySelector("[name=sort] [value=joint]");
    if (!option) return;
    const joint = this.getValue("joint");
    option.disabled = joint === "";
    if (option.disabled && option.selected) writeField(this.getField("sort"), this.getField("sort").initial);
    option.textContent = `${this.data.jointValue.title}: ${joint === "" ? "choose a joint" : this.data.joints[joint]}`;
  }

  /* The chosen joint stands out in all pictures, and its value is in their captions. */
  markJoint() {
    const joint = this.getValue("joint");
    if (joint === this.marked) return;
    this.marked = joint;
    for (const [index, card] of this.cards.entries()) {
      this.drawHalo(card.querySelector("svg"), index, joint === "" ? null : Number(joint));
      card.querySelector(".joint")?.remove();
      if (joint === "") continue;
      const line = makeElement("div", "", "joint");
      line.append(makeElement("dt", this.data.joints[joint]));
      line.append(makeElement("dd", formatValue(this.data.pictures[index].values?.[joint])));
      card.querySelector("dl").append(line);
    }
  }

  drawHalo(svg, index, joint) {
    if (!svg) return;
    svg.querySelector(".halo")?.remove();
    if (joint === null) return;
    const halo = document.createElementNS(SVG, "g");
    halo.setAttribute("class", "halo");
    this.data.pictures[index].points.forEach((points, place) => {
      if (!points || points[2 * joint] === null) return;
      const { key } = this.data.layers[place];
      const dot = document.createElementNS(SVG, "path");
      dot.dataset.layer = key;
      dot.classList.toggle("off", !this.isLayerOn(key));
      dot.setAttribute("d", `M${points[2 * joint]} ${points[2 * joint + 1]}h0`);
      halo.append(dot);
    });
    svg.prepend(halo);
  }

  /* ---- layers */

  isLayerOn(key) {
    return this.getField(`layer.${key}`).checked;
  }

  switchLayer(key) {
    const field = this.getField(`layer.${key}`);
    field.checked = !field.checked;
    this.showLayers();
    this.writeAddress();
  }

  showLayers() {
    const drawings = [...this.cards, this.stage];
    for (const layer of this.data.layers) {
      const isOn = this.isLayerOn(layer.key);
      for (const drawing of drawings) {
        for (const group of drawing.querySelectorAll("[data-layer]")) {
          if (group.dataset.layer === layer.key) group.classList.toggle("off", !isOn);
        }
      }
      for (const button of this.dialog.querySelectorAll("[data-switch]")) {
        if (button.dataset.switch === layer.key) button.setAttribute("aria-pressed", String(isOn));
      }
    }
  }

  /* ---- the large picture */

  show(index) {
    this.open = index;
    const card = this.cards[index];
    const picture = this.data.pictures[index];
    this.dialog.querySelector("h3").textContent = picture.id;
    const place = this.shown.indexOf(index);
    this.dialog.querySelector(".place").textContent = place < 0 ? "" : `${place + 1} of ${this.shown.length}`;
    // Not `disabled`, which would take the focus away from a keyboard that has come to the end.
    this.dialog.querySelector(".previous").setAttribute("aria-disabled", String(place <= 0));
    const isLast = place < 0 || place >= this.shown.length - 1;
    this.dialog.querySelector(".next").setAttribute("aria-disabled", String(isLast));
    const image = card.querySelector("img").cloneNode();
    image.loading = "eager";
    this.tip = makeElement("p", "", "tip");
    this.tip.hidden = true;
    const drawing = card.querySelector("svg")?.cloneNode(true);
    this.stage.replaceChildren(image, ...(drawing ? [drawing] : []), this.tip);
    const about = [card.querySelector("p"), card.querySelector("dl")].filter(Boolean);
    this.dialog.querySelector(".about").replaceChildren(...about.map((element) => element.cloneNode(true)));
    this.listJoints(index);
    this.showLayers();
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.querySelector(".side").scrollTop = 0;
    this.writeAddress();
  }

  listJoints(index) {
    const body = this.dialog.querySelector("tbody");
    if (!body) return;
    const values = this.data.joints.map((_, joint) => this.data.pictures[index].values?.[joint] ?? null);
    const isHighFirst = this.data.jointValue.worse === "high";
    const order = values.map((_, joint) => joint).sort((a, b) => compareNumbers(values[a], values[b], isHighFirst));
    const rows = order.map((joint) => {
      const row = makeElement("tr", "");
      const name = makeElement("th", this.data.joints[joint]);
      name.scope = "row";
      row.append(name, makeElement("td", formatValue(values[joint])));
      row.addEventListener("pointerenter", () => this.nameJoint(joint));
      row.addEventListener("pointerleave", () => this.nameJoint(null));
      return row;
    });
    body.replaceChildren(...rows);
  }

  step(by) {
    const place = this.shown.indexOf(this.open);
    const next = this.shown[place + by];
    if (place >= 0 && next !== undefined) this.show(next);
  }

  finishShowing() {
    const button = this.cards[this.open]?.querySelector("button");
    this.open = null;
    this.writeAddress();
    // Readers continue where they have stepped to.
    if (button?.isConnected) button.focus();
  }

  startSwipe(event) {
    this.swipe = event.pointerType === "touch" ? event.clientX : null;
    this.pointAt(event);
  }

  endSwipe(event) {
    if (this.swipe === null || this.swipe === undefined) return;
    const moved = event.clientX - this.swipe;
    this.swipe = null;
    if (Math.abs(moved) > SWIPE) this.step(moved < 0 ? 1 : -1);
  }

  /* Name the joint that is nearest to the pointer. */
  pointAt(event) {
    const svg = this.stage.querySelector("svg");
    if (!svg || this.open === null) return;
    const toScreen = svg.getScreenCTM();
    let nearest = null;
    let least = NEAR;
    this.data.pictures[this.open].points.forEach((points, place) => {
      if (!points || !this.isLayerOn(this.data.layers[place].key)) return;
      for (let joint = 0; joint < this.data.joints.length; joint += 1) {
        if (points[2 * joint] === null) continue;
        const point = new DOMPoint(points[2 * joint], points[2 * joint + 1]).matrixTransform(toScreen);
        const distance = Math.hypot(point.x - event.clientX, point.y - event.clientY);
        if (distance < least) {
          least = distance;
          nearest = { joint, place, point };
        }
      }
    });
    this.nameJoint(nearest && nearest.joint, nearest);
  }

  /* Mark a joint of the large picture; `at` is where the pointer has found it. */
  nameJoint(joint, at = null) {
    if (this.open === null) return;
    this.drawHalo(this.stage.querySelector("svg"), this.open, joint);
    this.tip.hidden = joint === null || at === null;
    if (this.tip.hidden) return;
    const value = this.data.pictures[this.open].values?.[joint] ?? null;
    const words = [`${this.data.joints[joint]} · ${this.data.layers[at.place].title}`];
    if (value !== null) words.push(`${this.data.jointValue.title} ${formatValue(value)}`);
    this.tip.textContent = words.join("\n");
    const frame = this.stage.getBoundingClientRect();
    const room = frame.width - this.tip.offsetWidth - 4;
    this.tip.style.left = `${Math.max(Math.min(at.point.x - frame.left + 14, room), 4)}px`;
    this.tip.style.top = `${Math.max(at.point.y - frame.top - this.tip.offsetHeight - 10, 4)}px`;
  }

  press(key) {
    if (this.dialog.open && key === "ArrowLeft") this.step(-1);
    if (this.dialog.open && key === "ArrowRight") this.step(1);
    const layer = this.data.layers.find((candidate) => candidate.shortcut === key);
    if (layer) this.switchLayer(layer.key);
  }
}

const viewers = [...document.querySelectorAll(".viewer")].map((root) => new Viewer(root));

addEventListener("hashchange", () => viewers.forEach((viewer) => viewer.readAddress()));
addEventListener("keydown", (event) => {
  const isTyping = event.target.matches?.("input:not([type=checkbox]), select, textarea");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const open = viewers.filter((viewer) => viewer.dialog.open);
  (open.length ? open : viewers).forEach((viewer) => viewer.press(event.key));
});
