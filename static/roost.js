// Roost in the browser: keeps times fresh, the log tidy, the connection alive. Every page works without it.
//
// The socket's messages are HTML fragments that htmx puts in place by their ids. Log lines are taken over here instead, so
// that none is doubled or lost: each carries a growing number, and a new connection says which one it has seen last.
"use strict";

(() => {
  const LINES_MAX = 2000;
  const HELD_MAX = 2000;
  const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
  const byId = (id) => document.getElementById(id);
  document.documentElement.classList.add("scripted");

  // Times: the same words as the server's, counted on from its clock; the visitor's own may be wrong.
  const skew = Number(document.documentElement.dataset.now || Date.now()) - Date.now();
  const now = () => Date.now() + skew;
  const span = (ms) => {
    ms = Math.max(0, ms);
    if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s`;
    if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min`;
    if (ms < DAY) {
      const minutes = Math.floor((ms % HOUR) / MINUTE);
      return minutes ? `${Math.floor(ms / HOUR)} h ${minutes} min` : `${Math.floor(ms / HOUR)} h`;
    }
    return ms < 2 * DAY ? "1 day" : `${Math.floor(ms / DAY)} days`;
  };
  // What lies ahead is rounded up: 6 days and 23 hours are 7 days.
  const ahead = (ms) => {
    const unit = ms > DAY ? DAY : ms > MINUTE ? MINUTE : SECOND;
    return span(Math.ceil(ms / unit) * unit);
  };
  const words = {
    relative: (at) => {
      const ms = now() - at;
      if (ms < -SECOND) return `in ${ahead(-ms)}`;
      return ms < 5 * SECOND ? "just now" : `${span(ms)} ago`;
    },
    lasting: (at) => span(now() - at),
    clock: (at) => new Date(at).toLocaleTimeString([], { timeStyle: "short" }),
    full: (at) => new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }),
  };
  const refreshTimes = (root) => {
    for (const time of root.querySelectorAll("time[data-as]")) {
      const at = Date.parse(time.dateTime);
      const say = words[time.dataset.as];
      if (!say || Number.isNaN(at)) continue;
      const text = say(at);
      if (time.textContent !== text) time.textContent = text;
      if (!time.dataset.local) {
        time.dataset.local = "1";
        time.title = new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "long" });
      }
    }
  };
  setInterval(() => document.hidden || refreshTimes(document), 2 * SECOND);
  document.addEventListener("visibilitychange", () => document.hidden || refreshTimes(document));

  // The log.
  const log = byId("log"), screen = byId("screen"), search = byId("log-search"), pause = byId("log-pause"), jump = byId("jump");
  let held = [], paused = false, newest = 0n, follows = false;
  const number = (line) => BigInt(line.dataset.seq || 0);
  const atEnd = () => screen.scrollHeight - screen.scrollTop - screen.clientHeight < 24;
  const toEnd = () => { screen.scrollTop = screen.scrollHeight; };
  const wanted = () => search.value.trim().toLowerCase();
  const sift = (line, text) => {
    const hit = text !== "" && line.textContent.toLowerCase().includes(text);
    line.classList.toggle("off", text !== "" && !hit && !line.classList.contains("gap"));
    line.classList.toggle("hit", hit);
  };
  const show = (lines) => {
    const follow = atEnd(), text = wanted();
    for (const line of lines) sift(line, text);
    log.append(...lines);
    // Lines that leave at the top must not move those that are being read.
    const surplus = log.children.length - LINES_MAX;
    if (surplus > 0) {
      const before = screen.scrollHeight;
      for (let n = 0; n < surplus; n++) log.firstElementChild.remove();
      if (!follow) screen.scrollTop -= before - screen.scrollHeight;
    }
    if (follow) toEnd();
    jump.hidden = follow || paused;
  };
  const sayHeld = () => {
    pause.lastElementChild.textContent = paused ? (held.length ? `Resume (${held.length})` : "Resume") : "Pause";
    pause.querySelector("use").setAttribute("href", `/static/icons/signs.svg#${paused ? "play" : "pause"}`);
    pause.setAttribute("aria-pressed", String(paused));
  };
  const take = (fragment) => {
    const fresh = [];
    for (const line of fragment.querySelectorAll("li")) {
      if (line.dataset.seq) {
        const seq = number(line);
        if (seq <= newest) continue;
        newest = seq;
      } else if (log.lastElementChild?.classList.contains("gap")) continue;
      fresh.push(line);
    }
    if (paused) {
      held.push(...fresh);
      if (held.length > HELD_MAX) held = held.slice(-HELD_MAX);
      sayHeld();
    } else if (fresh.length) show(fresh);
  };
  if (log) {
    for (const line of log.querySelectorAll("li[data-seq]")) if (number(line) > newest) newest = number(line);
    toEnd();
    screen.addEventListener("scroll", () => { if (atEnd()) jump.hidden = true; }, { passive: true });
    jump.addEventListener("click", toEnd);
    search.addEventListener("input", () => {
      const text = wanted();
      for (const line of log.children) sift(line, text);
      toEnd();
    });
    pause.addEventListener("click", () => {
      paused = !paused;
      const lines = held;
      held = [];
      if (!paused) { show(lines); toEnd(); jump.hidden = true; }
      sayHeld();
    });
  }

  // The socket.
  const lost = byId("lost");
  if (window.htmx) {
    window.htmx.createWebSocket = (url) => {
      const to = new URL(url, location.href);
      to.protocol = location.protocol === "https:" ? "wss:" : "ws:";
      if (newest > 0n) to.searchParams.set("after", newest.toString());
      return new WebSocket(to, []);
    };
    let leaving = false, opened = false;
    addEventListener("pagehide", () => { leaving = true; });
    let tries = 0;
    document.addEventListener("htmx:wsOpen", () => { tries = 0; lost.hidden = true; opened = true; });
    // htmx tries again after these; any other code means that the panel has ended it.
    const TRIED_AGAIN = [1006, 1011, 1012, 1013];
    const TRIES_AT_FIRST = 3;
    document.addEventListener("htmx:wsClose", (event) => {
      if (leaving) return;
      tries += 1;
      const ended = !TRIED_AGAIN.includes(event.detail.event?.code) || (!opened && tries >= TRIES_AT_FIRST);
      lost.lastElementChild.textContent = ended ? "This page does not update by itself now. Reload it to see what is new." : "Connection lost. Reconnecting…";
      lost.hidden = !ended && !opened;
    });
    // A part that is replaced under somebody's keyboard gives the focus to its successor.
    let focus = null;
    const place = (element) => {
      const form = element.closest("form");
      if (element.id) return `#${CSS.escape(element.id)}`;
      if (element.dataset.copy) return "[data-copy]";
      if (form && element.tagName === "BUTTON") return `form[action="${CSS.escape(form.getAttribute("action"))}"] button`;
      return element.hasAttribute("href") ? `a[href="${CSS.escape(element.getAttribute("href"))}"]` : null;
    };
    document.addEventListener("htmx:oobBeforeSwap", (event) => {
      const { target, fragment } = event.detail;
      // The first of its kind: the page is made for none.
      if (target && "until" in target.dataset) { location.reload(); return; }
      const active = document.activeElement;
      focus = target && target !== active && target.contains(active) ? place(active) : null;
      // A line that is begun is the last one: whoever is at the end stays there.
      if (target && target.id === "log-open") follows = atEnd();
      if (target && target.id === "log") {
        event.detail.shouldSwap = false;
        take(fragment);
      }
    });
    document.addEventListener("htmx:oobAfterSwap", (event) => {
      const part = byId(event.detail.target?.id) || document;
      if (focus) part.querySelector?.(focus)?.focus({ preventScroll: true });
      focus = null;
      if (part.id === "log-open" && follows) toEnd();
      refreshTimes(part);
      const said = byId("said"), head = byId("head");
      if (said && head && said.textContent !== head.dataset.say) said.textContent = head.dataset.say;
    });
    // What a refusal says, whichever form it has.
    const refusal = (request) => {
      const unknown = "The line could not be sent. Reload the page and try again.";
      const text = request?.responseText || "";
      try {
        return JSON.parse(text).detail || unknown;
      } catch {
        const page = new DOMParser().parseFromString(text, "text/html");
        const said = page.querySelector("[role=alert]") || page.querySelector("main p");
        return said?.textContent.trim() || unknown;
      }
    };
    document.addEventListener("htmx:afterRequest", (event) => {
      if (event.target.id !== "console") return;
      const line = byId("line");
      if (event.detail.successful) line.value = "";
      line.setCustomValidity(event.detail.successful ? "" : refusal(event.detail.xhr));
      line.reportValidity();
    });
    document.addEventListener("input", (event) => { if (event.target.id === "line") event.target.setCustomValidity(""); });
  }

  // Copying.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const done = await copied(button.dataset.copy);
    const use = button.querySelector("use"), word = button.querySelector("span");
    use?.setAttribute("href", `/static/icons/signs.svg#${done ? "check" : "alert"}`);
    if (word) word.textContent = done ? "Copied" : "Press Ctrl+C";
    setTimeout(() => {
      use?.setAttribute("href", "/static/icons/signs.svg#copy");
      if (word) word.textContent = "Copy";
    }, 2 * SECOND);
  });
  // Pages without TLS have no clipboard; there, a selection does it.
  const copied = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const box = document.createElement("textarea");
      box.value = text;
      box.className = "hush";
      document.body.append(box);
      box.select();
      const done = document.execCommand("copy");
      box.remove();
      return done;
    }
  };

  // Forms: ask where asked to, send once.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.confirm && !window.confirm(form.dataset.confirm)) {
      event.preventDefault();
      return;
    }
    if (form.id === "console") return;
    const button = event.submitter;
    if (button?.classList.contains("busy")) event.preventDefault();
    button?.classList.add("busy");
  });
  // An upload tells how far it is. Without this the browser sends the same form by itself.
  for (const form of document.querySelectorAll("form[data-upload]")) {
    form.addEventListener("submit", (event) => {
      const file = form.querySelector("input[type=file]")?.files[0];
      if (!file) return;
      event.preventDefault();
      const line = form.querySelector("[data-progress]"), bar = line.querySelector("progress"), words = line.querySelector("span");
      const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
      const request = new XMLHttpRequest();
      line.hidden = false;
      request.upload.addEventListener("progress", (told) => {
        if (!told.lengthComputable) return;
        const percent = Math.floor(100 * told.loaded / told.total);
        bar.value = percent;
        words.textContent = percent < 100 ? `${megabytes(told.loaded)} of ${megabytes(told.total)} MB` : "Checking every entry…";
      });
      request.addEventListener("load", () => {
        if (request.status < 400) { location.assign(request.getResponseHeader("location")); return; }
        const answer = new DOMParser().parseFromString(request.responseText, "text/html");
        byId("main").replaceWith(document.adoptNode(answer.getElementById("main")));
        byId("main").querySelector(".field.bad input, h1")?.scrollIntoView({ block: "center" });
        refreshTimes(document);
      });
      request.addEventListener("error", () => {
        words.textContent = "The upload broke off. Send it again.";
        for (const button of form.querySelectorAll(".busy")) button.classList.remove("busy");
      });
      request.open("POST", form.action);
      // Where to go is told and not gone to: the page there is to say what was done.
      request.setRequestHeader("roost-script", "1");
      request.send(new FormData(form));
    });
  }
  addEventListener("pageshow", () => { for (const button of document.querySelectorAll(".busy")) button.classList.remove("busy"); });

  // Layers: rows move up and down, go and come. The order of the rows is what is sent.
  for (const group of document.querySelectorAll("[data-layers]")) {
    const list = group.querySelector("ol"), said = group.querySelector("[data-said]"), most = Number(group.dataset.most);
    const rows = () => [...list.children];
    const select = (row) => row.querySelector("select");
    const name = (row) => select(row).selectedOptions[0]?.label || "None";
    const number = () => {
      const all = rows();
      all.forEach((row, place) => {
        row.querySelector(".place").textContent = place + 1;
        Object.assign(select(row), { name: `layer.${place}`, id: `layer-${place}` });
        const label = row.querySelector("label");
        label.htmlFor = `layer-${place}`;
        label.textContent = `Layer ${place + 1}`;
        const button = (move, words) => {
          const found = row.querySelector(`[data-move=${move}]`);
          found.setAttribute("aria-label", words);
          return found;
        };
        button("up", `Move layer ${place + 1} up`).disabled = place === 0;
        button("down", `Move layer ${place + 1} down`).disabled = place === all.length - 1;
        button("out", `Remove layer ${place + 1}`);
      });
      group.querySelector("[data-move=add]").disabled = all.length >= most;
    };
    const say = (words) => { said.textContent = words; };
    const moves = {
      up: (row, button) => {
        row.previousElementSibling.before(row);
        number();
        (button.disabled ? row.querySelector("[data-move=down]") : button).focus();
        say(`${name(row)} is now layer ${rows().indexOf(row) + 1} of ${rows().length}.`);
      },
      down: (row, button) => {
        row.nextElementSibling.after(row);
        number();
        (button.disabled ? row.querySelector("[data-move=up]") : button).focus();
        say(`${name(row)} is now layer ${rows().indexOf(row) + 1} of ${rows().length}.`);
      },
      out: (row) => {
        const words = `${name(row)} is removed.`;
        const next = row.nextElementSibling || row.previousElementSibling;
        if (next) row.remove(); else select(row).value = "";
        number();
        select(next || row).focus();
        say(words);
      },
      add: () => {
        const row = list.lastElementChild.cloneNode(true);
        select(row).value = "";
        list.append(row);
        number();
        select(row).focus();
        say(`Layer ${rows().length} is added.`);
      },
    };
    group.addEventListener("click", (event) => {
      const button = event.target.closest("[data-move]");
      if (button) moves[button.dataset.move](button.closest("li"), button);
    });
    number();
  }

  // Tables sort by a click on their heads, by number where the cells are numbers.
  for (const table of document.querySelectorAll("table[data-sort]")) {
    table.querySelectorAll("th").forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sortTable(table, column, down);
      });
    });
  }
  function sortTable(table, column, down) {
    const key = (row) => row.cells[column]?.textContent.trim() ?? "";
    const body = table.tBodies[0];
    const rows = [...body.rows].sort((a, b) => key(a).localeCompare(key(b), undefined, { numeric: true }));
    body.append(...(down ? rows.reverse() : rows));
  }

  refreshTimes(document);
})();
