"""The page /docs: it shows /openapi.json to people."""

from typing import Final

STYLE: Final = """body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}
code{font-weight:600}
pre{background:#8881;padding:1rem;overflow:auto}"""
SCRIPT: Final = """
const put = (parent, tag, text) =>
  parent.appendChild(Object.assign(document.createElement(tag), {textContent: text}));
fetch("/openapi.json").then(reply => reply.json()).then(api => {
  about.textContent = api.info.description;
  for (const [path, item] of Object.entries(api.paths))
  for (const [method, operation] of Object.entries(item)) {
    if (method === "parameters") continue;
    put(paths, "h3", method.toUpperCase() + " " + path);
    put(paths, "p", operation.summary);
    const [media] = Object.values(operation.requestBody?.content ?? {});
    const body = media?.schema.$ref.split("/").pop();
    if (body) put(paths, "pre", JSON.stringify(api.components.schemas[body], null, 2));
  }
});
"""
DOCS_PAGE: Final = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>cartstream gateway</title>
<style>{STYLE}</style>
<h1>cartstream gateway</h1><p id="about"></p><div id="paths"></div>
<p>Machine-readable: <a href="/openapi.json">/openapi.json</a></p>
<script>{SCRIPT}</script></html>
"""
