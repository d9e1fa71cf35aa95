// The environment that every job starts from: what a program needs to find its way on this host, and nothing that
// is the agent's own business (notify socket, tokens, FLOPD_*, loader variables).
const kept = ['PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'LANG', 'LC_ALL', 'LC_CTYPE', 'TZ'] as const;
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export function jobEnvironment(own: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const name of kept) {
    const value = own[name];
    if (value !== undefined && value !== '') environment[name] = value;
  }
  environment.PATH ??= DEFAULT_PATH;
  environment.LANG ??= 'C.UTF-8';
  return environment;
}
