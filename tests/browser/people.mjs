// Who takes part? People of a tenant with limits, made by the administrator through the API.
export const LIMITS = { environments: 2, cpu: 2, memory: 4, storage: 20 };

export async function prepare(url, token) {
  const ask = async (method, path, body) => {
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const answer = await fetch(url + path, { method, headers, body: body && JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    position = answer.headers.get("portreeve-position") ?? position;
    return JSON.parse(text);
  };
  let position = 0;
  const mark = Date.now().toString(36);
  const { tenant_id } = await ask("POST", "/api/tenants", { name: `Team ${mark}`, quota: LIMITS });
  const username = `ada-${mark}`;
  const password = "a long sentence is best";
  await ask("POST", "/api/users", { username, password, tenant_id, role: "developer" });
  const guest = { username: `grace-${mark}`, password };
  await ask("POST", "/api/users", { ...guest, tenant_id, role: "developer" });
  const operator = { username: `olga-${mark}`, password };
  await ask("POST", "/api/users", { ...operator, tenant_id, role: "operator" });
  const otherOperator = { username: `oskar-${mark}`, password };
  await ask("POST", "/api/users", { ...otherOperator, tenant_id, role: "operator" });
  // the pages are opened when what they show is there
  await ask("GET", `/api/tenants/${tenant_id}/quota?after=${position}`);
  return { username, password, guest, operator, otherOperator, token, mark };
}
