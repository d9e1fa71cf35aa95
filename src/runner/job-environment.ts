// What every job finds in its environment besides flopd's own: where this host keeps its programs, its language and
// its time zone. Nothing else of the agent's surroundings (notify socket, tokens, loader variables) reaches a job.
const kept = ['LANG', 'LC_ALL', 'TZ'] as const;

export function jobEnvironment(own: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const name of kept) {
    const value = own[name];
    if (value !== undefined && value !== '') environment[name] = value;
  }
  // A relative entry would mean another folder in each job.
  const folders = (own.PATH ?? '').split(':').filter((folder) => folder.startsWith('/'));
  if (folders.length > 0) environment.PATH = folders.join(':');
  return environment;
}
