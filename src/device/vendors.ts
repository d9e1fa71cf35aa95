// The list of accelerator vendors. To add one: its file, and a line here.
import type { Vendor } from './accelerator.ts';
import { createAscend } from './ascend.ts';
import { nvidia } from './nvidia.ts';

export function createVendors(): readonly Vendor[] {
  return [nvidia, createAscend()];
}
