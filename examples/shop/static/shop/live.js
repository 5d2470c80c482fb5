"use strict";

// Keeps an order page up to date. Without it the page reloads itself.
(() => {
  const SECOND = 1000;
  const page = document.querySelector("[data-live]");
  const rows = page.querySelector("[data-rows]");
  const emptyRow = page.querySelector("template").content.firstElementChild;
  const field = (name) => page.querySelector(`[data-field="${name}"]`);

  const setText = (node, text) => {
    if (node.textContent !== text) node.textContent = text;
  };

  const showState = (node, item) => {
    node.dataset.state = item.state;
    setText(node, item.state_word);
  };

  const timeOfDay = (iso) => (iso ? iso.slice(11, 23) : "");

  const showError = (cell, step) => {
    const shown = `${step.error_code} ${step.error}`.trim();
    if (cell.textContent.trim() === shown) return;
    cell.textContent = step.error;
    if (!step.error_code) return;
    const code = document.createElement("code");
    code.textContent = step.error_code;
    cell.prepend(code, " ");
  };

  const showStep = (row, step) => {
    const [name, state, attempt, started, ended, error] = row.children;
    row.dataset.direction = step.direction;
    setText(name, step.words);
    showState(state.firstElementChild, step);
    setText(attempt, step.attempt ? String(step.attempt) : "");
    setText(started, timeOfDay(step.started));
    setText(ended, timeOfDay(step.ended));
    showError(error, step);
  };

  const show = (status) => {
    showState(field("state"), status);
    setText(field("explanation"), status.explanation);
    status.steps.forEach((step, index) => {
      if (!rows.children[index]) rows.append(emptyRow.cloneNode(true));
      showStep(rows.children[index], step);
    });
  };

  const tell = (text) => {
    field("live").hidden = !text;
    setText(field("live"), text);
  };

  const look = async () => {
    if (document.hidden) return true;
    try {
      const answer = await fetch(page.dataset.live, { headers: { Accept: "application/json" } });
      if (answer.status === 404) {
        tell("This order is gone.");
        return false;
      }
      if (!answer.ok) throw new Error(answer.statusText);
      const status = await answer.json();
      show(status);
      tell(status.active ? "Looks again every second." : "");
      return status.active;
    } catch {
      tell("The shop does not answer; trying again.");
      return true;
    }
  };

  const watch = async () => {
    if (await look()) setTimeout(watch, SECOND);
  };

  if ("active" in page.dataset) watch();
})();
