// Which id a device has: its UUID; where that is not told, or two share one (captures with the numbers taken out), its
// place on the bus, which no two share.

export interface Identity {
  readonly uuid: string | null;
  readonly busId: string | null;
}

export function deviceIds(devices: readonly Identity[]): string[] {
  const taken = new Set<string>();
  return devices.map(({ uuid, busId }, index) => {
    const id =
      [uuid, busId, `nvidia-${index}`].find((each) => each !== null && !taken.has(each)) ?? `nvidia-${index}`;
    taken.add(id);
    return id;
  });
}
