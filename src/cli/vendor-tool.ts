// The command-line tools of accelerator vendors, as their files name them, and whether they are here.
import type { Environment } from '../config/keys.ts';
import { findProgram } from '../device/tool.ts';
import { createVendors } from '../device/vendors.ts';

/** Vendor (its one lowercase spelling) and tools, best first. */
export const vendorTools: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  createVendors().map(({ name, tools }) => [name, tools]),
);

/** Tools that are here, by vendor. */
export function findVendorTools(environment: Environment): Map<string, string> {
  const found = new Map<string, string>();
  for (const [vendor, tools] of Object.entries(vendorTools)) {
    for (const tool of tools) {
      const path = findProgram(tool, environment);
      if (path !== null && !found.has(vendor)) found.set(vendor, path);
    }
  }
  return found;
}
