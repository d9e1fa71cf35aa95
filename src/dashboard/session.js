// Who looks at the page. The token comes from the form, or on the scheduler's own machine from the fragment of the
// address (never sent to a server, and taken out of the history at once). It lives in this tab's sessionStorage and
// travels only in the Authorization header.

const ANSWER_DEADLINE_MS = 5000;
const TOKEN_KEY = 'flopd-token';

export const session = {
  token: null,
  /** What the scheduler says of the token; null until it has been asked. */
  me: null,
  /** The scheduler shows nothing without a token: it is not asked again until there is one. */
  isShut: false,
  /** The last token was not taken. */
  isRefused: false,
};

/** A token for other hosts carries the pin of the scheduler's authority behind a dot, which is for programs alone. */
export function setToken(text) {
  const token = text === null ? null : text.trim().replace(/\.sha256-[\w-]{43}$/, '');
  Object.assign(session, { token, me: null, isShut: false, isRefused: false });
  if (token === null) sessionStorage.removeItem(TOKEN_KEY);
  else sessionStorage.setItem(TOKEN_KEY, token);
}

/** Takes token and job out of the address; returns the job that it names, or null. */
export function takeFragment() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (location.hash !== '') history.replaceState(null, '', location.pathname);
  setToken(given.get('token') ?? sessionStorage.getItem(TOKEN_KEY));
  return given.get('job');
}

/** Rejects with an error that has the `status` of an answer without success. */
export async function ask(path) {
  const headers = session.token === null ? {} : { authorization: `Bearer ${session.token}` };
  const response = await fetch(path, {
    headers,
    cache: 'no-store',
    signal: AbortSignal.timeout(ANSWER_DEADLINE_MS),
  });
  if (response.ok) return response;
  const error = new Error(`${path} answered ${response.status}`);
  error.status = response.status;
  throw error;
}

export const askJson = async (path) => (await ask(path)).json();

/** What `work` gives; null where the token is not taken, which ends it, or where there has to be one. */
export async function whileAdmitted(work) {
  if (session.isShut) return null;
  try {
    if (session.token !== null) session.me ??= await askJson('/v1/me');
    return await work();
  } catch (error) {
    if (error.status !== 401 && error.status !== 403 && error.status !== 429) throw error;
    const had = session.token !== null;
    setToken(null);
    session.isRefused = had;
    session.isShut = !had;
    return null;
  }
}
