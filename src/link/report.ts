// The report of an attempt as it goes over the wire: the order once, in the form that this version of the protocol has for
// it; without the result, which comes by itself, where the whole would not fit into a frame.
import { type JobReport, MAX_FRAME_BYTES } from '../protocol/control.ts';
import { SIGNED_SINCE_VERSION } from '../protocol/version.ts';

export function reportText(report: JobReport, version: number): string {
  const { proof, ...told } = report;
  const ordered = version >= SIGNED_SINCE_VERSION && proof !== null ? { ...told, proof, order: null } : told;
  const whole = JSON.stringify(ordered);
  return Buffer.byteLength(whole) <= MAX_FRAME_BYTES ? whole : JSON.stringify({ ...ordered, result: null });
}
