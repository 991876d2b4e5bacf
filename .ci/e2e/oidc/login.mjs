// Walks through the identity provider's built-in login and consent forms without a browser, as a
// person with an authorization URL would, and stops at the application's redirect.

const MAX_STEPS = 12;
const TIMEOUT_MS = 20_000;

/** The parameters of the redirect to `redirectUri`. */
export async function login(authorizationUrl, redirectUri) {
  const cookies = new Map();
  let url = new URL(authorizationUrl);
  let form = null;
  for (let step = 0; step < MAX_STEPS; step += 1) {
    if (url.href.startsWith(redirectUri)) return url.searchParams;
    const response = await request(url, form, cookies);
    form = null;
    const location = response.headers.get('location');
    if (location) {
      url = new URL(location, url);
      continue;
    }
    const page = await response.text();
    if (!response.ok) throw new Error(`${url.pathname} answered ${response.status}: ${page}`);
    const action = /<form[^>]*action="([^"]+)"/.exec(page)?.[1];
    if (!action) throw new Error(`no form at ${url.pathname}`);
    const prompt = /name="prompt" value="([^"]+)"/.exec(page)?.[1];
    form = { prompt, ...(prompt === 'login' ? { login: 'alice', password: 'any' } : {}) };
    url = new URL(action, url);
  }
  throw new Error(`the login didn't end within ${MAX_STEPS} steps`);
}

async function request(url, form, cookies) {
  const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  const response = await fetch(url, {
    method: form ? 'POST' : 'GET',
    headers: cookie ? { cookie } : {},
    body: form ? new URLSearchParams(form) : undefined,
    redirect: 'manual',
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  for (const header of response.headers.getSetCookie()) {
    const [name, ...rest] = header.split(';')[0].split('=');
    const value = rest.join('=');
    if (value) cookies.set(name, value);
    else cookies.delete(name);
  }
  return response;
}
