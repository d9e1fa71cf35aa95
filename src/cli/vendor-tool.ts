// The command-line tools of accelerator vendors, as their files name them, and whether they are here.
import type { Environment } from '../config/keys.ts';
import { findProgram } from '../device/tool.ts';
import { createVendors } from '../device/vendors.ts';

/** Tools that are looked for, best first of each vendor. */
export function vendorTools(): string[] {
  return createVendors().flatMap(({ tools }) => tools);
}

/** Tools that are here, by vendor. */
export function findVendorTools(environment: Environment): Map<string, string> {
  const found = new Map<string, string>();
  for (const { name, tools } of createVendors()) {
    const path = tools.map((tool) => findProgram(tool, environment)).find((each) => each !== null);
    if (path !== undefined) found.set(name, path);
  }
  return found;
}
