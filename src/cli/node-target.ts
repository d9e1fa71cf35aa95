// What `drain` and `resume` are about: a node, or a device of one.
import type { NodeDeviceView, NodeView } from '../protocol/api.ts';
import { usageFault } from './usage.ts';

export interface NodeTarget {
  readonly node: string;
  /** Null for the whole node. */
  readonly device: string | null;
}

/** `NODE` or `NODE/DEVICE`; the device may come by a flag instead. */
export function readTarget(text: string, flag: string | undefined): NodeTarget {
  const at = text.indexOf('/');
  const node = at < 0 ? text : text.slice(0, at);
  const device = at < 0 ? null : text.slice(at + 1);
  if (node === '') throw usageFault('node: it is empty', 'name a node as "flopd nodes" shows it');
  if (device === '' || flag === '')
    throw usageFault('device: it is empty', 'name the node alone, or a device as "flopd node" shows it');
  if (device !== null && flag !== undefined)
    throw usageFault('--device: the device is named twice', `leave out --device, or "/${device}"`);
  return { node, device: device ?? flag ?? null };
}

/** The device of the answer that the target means; null for a node, or where it is gone. */
export function targetDevice(node: NodeView, device: string | null): NodeDeviceView | null {
  if (device === null) return null;
  const all = node.devices.flatMap((one) => [one, ...one.partitions]);
  const byIndex = (one: NodeDeviceView): boolean => `${one.vendor}:${one.index}` === device.toLowerCase();
  return all.find(({ id }) => id === device) ?? node.devices.find(byIndex) ?? null;
}
