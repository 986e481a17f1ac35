"use strict";

const find = (selector) => document.querySelector(selector);
const [given, video, problem, found, waiting] = [".given", "video", ".problem", ".found", ".waiting"].map(find);
const maxBytes = Number(document.body.dataset.maxBytes);
let latest = 0; // number of the last picture: a late answer to an earlier one is dropped
let camera = null;

function show(element, isShown) {
  element.hidden = !isShown;
}

function complain(text) {
  problem.textContent = text;
  show(problem, true);
  show(found, false);
  show(waiting, false);
}

// Send a picture, show it, and show the answer.
async function ask(picture) {
  const number = ++latest;
  stopCamera();
  URL.revokeObjectURL(given.src);
  given.src = URL.createObjectURL(picture);
  show(given, true);
  if (picture.size > maxBytes) {
    document.body.classList.remove("busy"); // the answer to an earlier picture, which is dropped, would not do it
    complain(`This file has ${(picture.size / 2 ** 20).toFixed(1)} MB, expected at most ${maxBytes / 2 ** 20} MB; scale the picture down.`);
    return;
  }
  document.body.classList.add("busy");
  let answer;
  try {
    const response = await fetch("answer", {
      method: "POST",
      headers: { "Content-Type": "application/octet-stream" },
      body: picture,
    });
    answer = await response.json();
  } catch {
    answer = { problem: "The demo does not answer; look at its terminal, and start it again if it has ended." };
  }
  if (number !== latest) return;
  document.body.classList.remove("busy");
  if (answer.classes) present(answer);
  else complain(answer.problem[0].toUpperCase() + answer.problem.slice(1));
}

given.addEventListener("error", () => show(given, false)); // a format that the browser does not show, or no picture

const percent = (fraction) => `${(100 * fraction).toFixed(1)} %`;

function present(answer) {
  const [first] = answer.classes;
  found.querySelector("h2").textContent = first.name;
  const superclass = answer.superclass;
  found.querySelector(".superclass").textContent = superclass
    ? `Superclass: ${superclass.name}, ${percent(superclass.probability)} over all its classes`
    : "";
  found.querySelector(".seen").src = answer.seen;
  found.querySelector("ol").replaceChildren(...answer.classes.map(row));
  show(found.querySelector(".map"), first.map !== null);
  const unmapped = found.querySelector(".unmapped");
  unmapped.textContent = answer.problem;
  show(unmapped, answer.problem !== "");
  look(found.querySelector("ol button"), first);
  show(problem, false);
  show(waiting, false);
  show(found, true);
}

// A class with its bar; pressed, it shows where the network looked for this class.
function row(each) {
  const button = document.createElement("button");
  button.type = "button";
  const [name, percentage, bar, filled] = ["span", "span", "span", "span"].map((tag) => document.createElement(tag));
  name.textContent = each.name;
  name.className = "name";
  if (each.superclass) {
    const superclass = document.createElement("small");
    superclass.textContent = each.superclass;
    name.append(superclass);
  }
  percentage.textContent = percent(each.probability);
  percentage.className = "percent";
  filled.style.setProperty("--p", each.probability);
  bar.className = "bar";
  bar.append(filled);
  button.append(name, percentage, bar);
  button.addEventListener("click", () => look(button, each));
  const item = document.createElement("li");
  item.append(button);
  return item;
}

function look(button, each) {
  for (const other of found.querySelectorAll("ol button")) other.setAttribute("aria-pressed", other === button);
  if (each.map === null) return;
  found.querySelector(".map img").src = each.map;
  found.querySelector(".map b").textContent = each.name;
}

find(".choose input").addEventListener("change", (event) => {
  if (event.target.files.length) ask(event.target.files[0]);
  event.target.value = ""; // so that the same file can be chosen again
});

// Drop: anywhere on the page.
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) ask(file);
  else complain("That is not a file; save the picture and drop the file, or copy the picture and paste it.");
});

addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) ask(file);
  else complain("There is no picture to paste; copy one first.");
});

// The images of the page are data URIs, whose bytes are sent unchanged.
for (const button of document.querySelectorAll(".try-it")) {
  button.addEventListener("click", () => {
    const bytes = Uint8Array.from(atob(button.querySelector("img").src.split(",")[1]), (letter) => letter.charCodeAt(0));
    ask(new Blob([bytes], { type: "image/png" }));
    find(".try").scrollIntoView({ block: "nearest" });
  });
}

function stopCamera() {
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  show(video, false);
  show(find(".shoot"), false);
  show(find(".camera"), true);
}

find(".camera").addEventListener("click", async (event) => {
  const button = event.currentTarget;
  const number = latest;
  button.disabled = true; // a second click would open the camera again, and only the last one is stopped
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    video.srcObject = camera;
    await video.play();
  } catch (error) {
    stopCamera();
    complain(`The camera cannot be used (${error.name}); allow it for this page, or choose a file.`);
    return;
  } finally {
    button.disabled = false;
  }
  if (number !== latest) {
    stopCamera(); // another picture was given while the browser asked for permission
    return;
  }
  show(given, false);
  show(video, true);
  show(find(".shoot"), true);
  show(find(".camera"), false);
});

find(".shoot").addEventListener("click", () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((picture) => picture && ask(picture), "image/png");
});
