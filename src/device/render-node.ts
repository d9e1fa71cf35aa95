// Number of the render node (/dev/dri/renderDN) of a card on the PCI bus, as udev links it.
import { readlinkSync } from 'node:fs';
import { join } from 'node:path';

/** Null where the card has none, or the host does not say. */
export function readRenderNode(devRoot: string, busId: string | null): number | null {
  if (busId === null) return null;
  const [, domain = '0000', rest = ''] =
    /^(?:([0-9a-f]{2,8}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f])$/i.exec(busId) ?? [];
  const name = `pci-${domain.slice(-4).padStart(4, '0')}:${rest}-render`.toLowerCase();
  try {
    const target = readlinkSync(join(devRoot, 'dri', 'by-path', name));
    const number = /renderD(\d{1,6})$/.exec(target)?.[1];
    return number === undefined ? null : Number(number);
  } catch {
    return null;
  }
}
