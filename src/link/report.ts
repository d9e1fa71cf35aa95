// The report of an attempt as it goes over the wire: its order in the form that this version of the protocol has for it;
// without the result, which comes by itself, where the whole would not fit into a frame.
import { type JobReport, MAX_FRAME_BYTES } from '../protocol/control.ts';
import { readStart } from '../protocol/order-seal.ts';
import { SIGNED_SINCE_VERSION } from '../protocol/version.ts';

/** Throws a Fault for a signed order that this build cannot read, where the scheduler reads no signed ones. */
export function reportText(report: JobReport, version: number): string {
  const { proof, ...told } = report;
  const whole = ((): object => {
    if (proof === null) return told;
    return version >= SIGNED_SINCE_VERSION ? report : { ...told, order: readStart(proof).order };
  })();
  const text = JSON.stringify(whole);
  return Buffer.byteLength(text) <= MAX_FRAME_BYTES ? text : JSON.stringify({ ...whole, result: null });
}
