"use strict";
// Shows a structure on a canvas: drag to turn it, wheel to come nearer. A model with
// several frames is played.
function show(canvas, model) {
  const pen = canvas.getContext("2d");
  const middle = [canvas.width / 2, canvas.height / 2];
  const all = [...model.frames.flat(), ...model.cell.flat(2)];
  const reach = all.reduce((most, x) => Math.max(most, Math.abs(x)), 100) * 1.2 + 40;
  const fit = Math.min(...middle) / reach;
  let turn = 0.5, tilt = 0.35, zoom = 1, held = null;

  canvas.onpointerdown = e => {
    held = [e.clientX, e.clientY];
    canvas.setPointerCapture(e.pointerId);
  };
  canvas.onpointerup = canvas.onpointercancel = () => { held = null; };
  canvas.onpointermove = e => {
    if (!held) return;
    turn += (e.clientX - held[0]) / 100;
    tilt += (e.clientY - held[1]) / 100;
    held = [e.clientX, e.clientY];
    if (!plays) draw(0);
  };
  canvas.onwheel = e => {
    e.preventDefault();
    zoom = Math.min(8, Math.max(0.3, zoom * Math.exp(-e.deltaY / 800)));
    if (!plays) draw(0);
  };

  function seen(x, y, z) {
    const [ct, st, cp, sp] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)];
    const u = ct * x + st * z, w = ct * z - st * x, scale = fit * zoom;
    return [middle[0] + scale * u, middle[1] - scale * (cp * y - sp * w), sp * y + cp * w];
  }

  function draw(frame) {
    const flat = model.frames[frame], points = [], things = [];
    for (let i = 0; i < flat.length; i += 3) points.push(seen(flat[i], flat[i + 1], flat[i + 2]));
    points.forEach((p, i) => things.push([p[2], () => ball(p, i)]));
    for (const [i, j] of model.bonds) {
      const half = points[i].map((x, k) => (x + points[j][k]) / 2);
      for (const end of [i, j])
        things.push([Math.min(points[end][2], half[2]) - 1, () => stick(points[end], half, end)]);
    }
    pen.clearRect(0, 0, canvas.width, canvas.height);
    for (const [a, b] of model.cell) line(seen(...a), seen(...b), "#94a3b8", 1.5);
    things.sort((a, b) => a[0] - b[0]).forEach(thing => thing[1]());
  }

  function ball([x, y], i) {
    const r = model.radii[i] * fit * zoom;
    const shade = pen.createRadialGradient(x - r / 3, y - r / 3, r / 10, x, y, r);
    shade.addColorStop(0, "white");
    shade.addColorStop(0.3, color(i, 1));
    shade.addColorStop(1, color(i, 0.45));
    pen.fillStyle = shade;
    pen.beginPath();
    pen.arc(x, y, r, 0, 2 * Math.PI);
    pen.fill();
  }

  function stick(a, b, i) { line(a, b, color(i, 0.75), 18 * fit * zoom); }

  function line(a, b, style, width) {
    pen.strokeStyle = style;
    pen.lineWidth = width;
    pen.beginPath();
    pen.moveTo(a[0], a[1]);
    pen.lineTo(b[0], b[1]);
    pen.stroke();
  }

  function color(i, light) {
    return `rgb(${model.colors[i].map(c => Math.round(light * c)).join(",")})`;
  }

  function play(time) {
    if (!held) turn += 0.002;
    draw(Math.floor(time / 50) % model.frames.length);
    requestAnimationFrame(play);
  }

  const plays = model.frames.length > 1;
  if (plays) requestAnimationFrame(play); else draw(0);
}
