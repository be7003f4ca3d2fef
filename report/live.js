// SPDX-License-Identifier: Apache-2.0
// Sends pictures to the server that this page is from, and shows what comes back.
"use strict";
(() => {
  const find = (name) => document.getElementById(name);
  const [problem, shown, video, camera, layer, map] =
    ["problem", "shown", "video", "camera", "layer", "map"].map(find);
  const largest = Number(document.body.dataset.largest), told = (value) => value.toLocaleString("en-US");
  // The picture that is shown; and a number for each that is sent, by which an answer that comes too late is known.
  let picture = null, sent = 0, stream = null;

  function tell(sentence) {
    problem.textContent = sentence;
    problem.hidden = !sentence;
  }

  async function ask(path, options) {
    let response;
    try {
      response = await fetch(`${path}?${new URLSearchParams({ name: picture.name, ...options })}`,
        { method: "POST", body: picture.content });
    } catch {
      throw new Error("The server can't be reached: it may have been ended.");
    }
    const found = await response.json();
    if (!response.ok) throw new Error(found.problem);
    return found;
  }

  async function show(content) {
    shown.hidden = true;
    let bitmap;
    // Not every format that is taken can be shown by every browser.
    try { bitmap = await createImageBitmap(content); } catch { return; }
    shown.width = bitmap.width;
    shown.height = bitmap.height;
    shown.getContext("2d").drawImage(bitmap, 0, 0);
    shown.hidden = false;
  }

  const boxColours = ["#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000"];

  function drawBoxes(boxes) {
    const context = shown.getContext("2d"), { width, height } = shown, line = Math.max(1, Math.max(width, height) / 200);
    context.lineWidth = line;
    context.font = `${Math.max(10, 6 * line)}px sans-serif`;
    context.textBaseline = "top";
    for (const { class: number, name, score, box: [top, left, bottom, right] } of boxes) {
      const text = `${name} ${Math.round(score * 100)}%`, x = left * width, y = top * height;
      context.strokeStyle = context.fillStyle = boxColours[number % boxColours.length];
      context.strokeRect(x, y, (right - left) * width, (bottom - top) * height);
      const size = Math.max(10, 6 * line) + line, place = y >= size ? y - size : y;
      context.fillRect(x, place, context.measureText(text).width + 2 * line, size);
      context.fillStyle = "white";
      context.fillText(text, x + line, place);
    }
  }

  function row(name, score, share) {
    const line = find("scores").tBodies[0].insertRow();
    line.insertCell().textContent = name;
    const number = line.insertCell();
    number.className = "number";
    number.textContent = score;
    const bar = line.insertCell().appendChild(document.createElement("div"));
    bar.className = "bar";
    bar.style.width = `${100 * share}%`;
  }

  function tellAnswer(found) {
    find("scores").tBodies[0].replaceChildren();
    const percent = (score) => `${(100 * score).toFixed(1)} %`;
    const entries = found.boxes || found.classes || [];
    const probable = Boolean(found.boxes || found.probabilities);
    const scores = entries.map((each) => each.score), least = Math.min(0, ...scores), most = Math.max(...scores);
    for (const { name, score } of entries)
      row(name, probable ? percent(score) : told(score), probable ? score : (score - least) / (most - least || 1));
    find("scores").hidden = !entries.length;
    find("verdict").textContent = found.verdict;
    if (found.boxes) drawBoxes(found.boxes);
    find("time").textContent = found.time;
  }

  async function classify(content, name) {
    const number = ++sent;
    tell("");
    if (content.size > largest) {
      tell(`${name} has ${told(content.size)} bytes: at most ${told(largest)} are taken.`);
      return;
    }
    picture = { content, name };
    find("answer").setAttribute("aria-busy", "true");
    try {
      await show(content);
      const found = await ask("answer");
      if (number !== sent) return;
      tellAnswer(found);
      if (layer) layer.disabled = false;
      if (layer && layer.value !== "") await showLayer();
    } catch (error) {
      if (number !== sent) return;
      picture = null;
      find("verdict").textContent = "No answer.";
      find("scores").hidden = true;
      find("time").textContent = "";
      tell(error.message);
      stop();
    } finally {
      if (number === sent) find("answer").setAttribute("aria-busy", "false");
    }
  }

  // -- layers --------------------------------------------------------------------------------------------------

  function drawMap([height, width, channels], values) {
    const across = Math.min(channels, Math.max(1, Math.ceil(Math.sqrt(channels * 2 * height / width))));
    const down = Math.ceil(channels / across);
    map.width = across * (width + 1) - 1;
    map.height = down * (height + 1) - 1;
    const least = values.reduce((one, other) => Math.min(one, other)), context = map.getContext("2d");
    const most = values.reduce((one, other) => Math.max(one, other));
    context.clearRect(0, 0, map.width, map.height);
    for (let channel = 0; channel < channels; channel++) {
      const square = context.createImageData(width, height);
      for (let pixel = 0; pixel < width * height; pixel++) {
        const grey = 255 * (values[pixel * channels + channel] - least) / (most - least || 1);
        square.data.set([grey, grey, grey, 255], 4 * pixel);
      }
      context.putImageData(square, (channel % across) * (width + 1), Math.floor(channel / across) * (height + 1));
    }
    map.setAttribute("aria-label", `${channels} channels of ${height} by ${width}, ${least} to ${most}`);
  }

  async function showLayer() {
    const asked = layer.value, number = sent;
    map.hidden = true;
    find("map-text").textContent = "";
    if (asked === "" || !picture) return;
    find("map-text").textContent = "Asking the device …";
    try {
      const found = await ask("map", { layer: asked });
      if (asked !== layer.value || number !== sent) return;
      drawMap(found.shape, Int8Array.from(atob(found.values), (each) => each.charCodeAt(0)));
      map.hidden = false;
      find("map-text").textContent = found.verdict;
    } catch (error) {
      find("map-text").textContent = "";
      tell(error.message);
    }
  }

  if (layer) layer.addEventListener("change", () => { tell(""); showLayer(); });

  // -- where pictures come from --------------------------------------------------------------------------------

  function take(files) {
    stop();
    if (files.length > 1) tell(`One picture at a time: these are ${files.length}.`);
    else if (files.length) classify(files[0], files[0].name);
    else tell("This is no file.");
  }

  find("file").addEventListener("change", (event) => {
    if (event.target.files.length) take(event.target.files);
    // The same file may be chosen again.
    event.target.value = "";
  });
  const drop = find("drop");
  for (const name of ["dragenter", "dragover", "dragleave", "drop"])
    document.addEventListener(name, (event) => {
      // Beside its place too: or the browser would leave the page for the picture.
      event.preventDefault();
      drop.classList.toggle("over", name === "dragenter" || name === "dragover");
    });
  document.addEventListener("drop", (event) => take(event.dataTransfer.files));

  function stop() {
    if (!stream) return;
    stream.getTracks().forEach((track) => track.stop());
    stream = null;
    camera.textContent = "Use the camera";
    camera.setAttribute("aria-pressed", "false");
  }

  async function watch() {
    tell("");
    const own = stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640 } });
    camera.textContent = "Stop the camera";
    camera.setAttribute("aria-pressed", "true");
    video.srcObject = own;
    await video.play();
    const frame = document.createElement("canvas");
    while (stream === own) {
      frame.width = video.videoWidth;
      frame.height = video.videoHeight;
      frame.getContext("2d").drawImage(video, 0, 0);
      const content = await new Promise((done) => { frame.toBlob(done, "image/jpeg", 0.92); });
      if (stream === own) await classify(content, "the camera's picture");
    }
  }

  camera.addEventListener("click", async () => {
    if (stream) { stop(); return; }
    if (!navigator.mediaDevices) {
      tell("Browsers give the camera only to pages of this computer: open this one as localhost.");
      return;
    }
    try {
      await watch();
    } catch (error) {
      stop();
      tell(`The camera can't be used (${error.message || error.name}).`);
    }
  });
})();
