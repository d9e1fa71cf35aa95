// Names that mean this machine alone.

/** True for `localhost`, `::1` and 127.0.0.0/8, as a URL or a configuration writes them (`[::1]` too). */
export function isLoopbackName(name: string): boolean {
  const host = plainHost(name);
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host);
}

/** A host without the brackets of IPv6, in lower case. */
export function plainHost(name: string): string {
  return name.replace(/^\[(.*)\]$/, '$1').toLowerCase();
}
