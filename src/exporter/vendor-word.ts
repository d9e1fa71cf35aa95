// The words that dashboards know for parts of one vendor's devices.

const clockDomains: Readonly<Record<string, string>> = { nvidia: 'sm', ascend: 'aicore' };

/** Domain of the clock of the compute units. */
export function clockDomain(vendor: string): string {
  return clockDomains[vendor] ?? 'compute';
}
