// The page behind /docs: the OpenAPI document for people, and a way to try each operation. Nothing else is loaded.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete", "head"];

/** An element with attributes and children; text is never read as markup. */
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function resolved(root, node) {
  let found = node;
  while (found && found.$ref) found = found.$ref.slice(2).split("/").reduce((at, step) => at[step], root);
  return found || {};
}

function pretty(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

/** What a body or answer looks like: its example, else one of its schema, else the schema itself. */
function example(root, media) {
  if ("example" in media) return pretty(media.example);
  const first = Object.values(media.examples || {})[0];
  if (first && "value" in first) return pretty(first.value);
  const schema = resolved(root, media.schema);
  if ("example" in schema) return pretty(schema.example);
  return pretty(schema.examples ? schema.examples[0] : schema);
}

function typeOf(root, parameter) {
  const schema = resolved(root, parameter.schema);
  const types = schema.anyOf ? schema.anyOf.map((each) => resolved(root, each).type) : [schema.type];
  const values = schema.enum || (schema.anyOf || []).flatMap((each) => resolved(root, each).enum || []);
  return (values.length ? values.join(" | ") : types.filter((type) => type && type !== "null").join(" or ")) || "";
}

function parameterRows(root, operation) {
  return (operation.parameters || []).map((each) => resolved(root, each)).map((parameter) => {
    const input = make("input", { "aria-label": parameter.name });
    const place = make("span", { class: "place" }, ` ${parameter.in}${parameter.required ? ", required" : ""}`);
    const row = make("tr", {}, make("td", {}, make("code", {}, parameter.name), place),
      make("td", {}, typeOf(root, parameter)), make("td", {}, parameter.description || ""), make("td", {}, input));
    return { parameter, input, row };
  });
}

function answers(root, operation) {
  return Object.entries(operation.responses).map(([status, answer]) => {
    const found = resolved(root, answer);
    const shown = Object.entries(found.content || {}).map(([type, media]) =>
      make("details", {}, make("summary", {}, type), make("pre", {}, example(root, media))));
    return make("tr", {}, make("td", {}, make("code", {}, status)), make("td", {}, found.description || "", ...shown));
  });
}

/** Sends the request as filled in, with the key of this page, and shows what comes back. */
async function send(method, path, rows, type, body, output) {
  let url = path;
  const query = new URLSearchParams();
  const headers = {};
  for (const { parameter, input } of rows) {
    if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (input.value && parameter.in === "query") query.append(parameter.name, input.value);
    else if (input.value && parameter.in === "header") headers[parameter.name] = input.value;
  }
  const key = document.getElementById("key").value.trim();
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== null && type) headers["Content-Type"] = type;
  const asked = new URL(url.slice(1) + (query.size ? `?${query}` : ""), new URL(".", document.baseURI));
  output.textContent = "…";
  try {
    const answer = await fetch(asked, { method: method.toUpperCase(), headers, body, credentials: "omit" });
    let text = await answer.text();
    try { text = pretty(JSON.parse(text)); } catch { /* no JSON: as it is */ }
    output.textContent = `${answer.status} ${answer.statusText}\n${text.slice(0, 200000)}`;
  } catch (error) {
    output.textContent = String(error);
  }
}

function fill(root, path, method, operation, box) {
  const rows = parameterRows(root, operation);
  const content = Object.entries((operation.requestBody || {}).content || {});
  const types = make("select", { "aria-label": "Content-Type" }, ...content.map(([type]) => make("option", {}, type)));
  const body = make("textarea", { "aria-label": "Body", spellcheck: "false" });
  const show = () => { body.value = content.length ? example(root, resolved(root, content[types.selectedIndex][1])) : ""; };
  types.addEventListener("change", show);
  show();
  const output = make("pre", { "aria-live": "polite" });
  const button = make("button", { type: "button" }, "Send");
  button.addEventListener("click", () =>
    send(method, path, rows, types.value, content.length ? body.value : null, output));
  const head = make("tr", {}, ...["parameter", "type", "", "value"].map((name) => make("th", {}, name)));
  box.append(...[
    operation.description ? make("p", {}, operation.description) : null,
    rows.length ? make("table", {}, head, ...rows.map((each) => each.row)) : null,
    content.length ? make("p", {}, "Body ", types) : null,
    content.length ? body : null,
    path.endsWith("/events") ? null : button,
    output,
    make("table", {}, ...answers(root, operation)),
  ].filter(Boolean));
}

function operationBox(root, path, method, operation) {
  const mark = make("span", { class: `method ${method}` }, method.toUpperCase());
  const box = make("details", { "data-text": `${method} ${path} ${operation.summary}`.toLowerCase() },
    make("summary", {}, mark, make("code", {}, path), ` ${operation.summary}`));
  box.addEventListener("toggle", () => fill(root, path, method, operation, box), { once: true });
  return box;
}

function show(root) {
  document.getElementById("version").textContent = root.info.version;
  document.getElementById("description").textContent = root.info.description;
  const sections = new Map(root.tags.map((tag) =>
    [tag.name, make("section", {}, make("h2", {}, tag.name), make("p", {}, tag.description || ""))]));
  for (const [path, item] of Object.entries(root.paths)) {
    for (const method of METHODS.filter((each) => each in item)) {
      const tag = item[method].tags[0];
      if (!sections.has(tag)) sections.set(tag, make("section", {}, make("h2", {}, tag)));
      sections.get(tag).append(operationBox(root, path, method, item[method]));
    }
  }
  document.getElementById("operations").replaceChildren(...sections.values());
}

function filter(text) {
  for (const section of document.querySelectorAll("section")) {
    const boxes = [...section.querySelectorAll(":scope > details")];
    for (const box of boxes) box.hidden = !box.dataset.text.includes(text.toLowerCase());
    section.hidden = boxes.every((box) => box.hidden);
  }
}

document.getElementById("filter").addEventListener("input", (event) => filter(event.target.value));
fetch("openapi.json", { credentials: "omit" }).then((answer) => answer.json()).then(show).catch((error) => {
  document.getElementById("operations").textContent = `The document cannot be read: ${error}`;
});
