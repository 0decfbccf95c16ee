// The page's API. Every refusal becomes an Error with the sentence that the server said.

async function answer(response) {
  const document = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(document.error ?? `The page answers ${response.status}.`);
  return document;
}

export const get = async (path) => answer(await fetch(`/ops/api/${path}`));

export async function post(path, body) {
  const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  return answer(await fetch(`/ops/api/${path}`, options));
}
