// The output of the chosen job: the end of each stream, with the gaps of what was not kept where they lie. What a job
// prints reaches the page as text alone; control characters and marks of direction are shown as a mark.
import { byId, setText } from './element.js';
import { scaled } from './figure.js';
import { say, sayState } from './language.js';

/** Output shown per stream, in bytes. */
const OUTPUT_BYTES = 64 * 1024;

export function newTails() {
  return { stdout: newTail(), stderr: newTail() };
}

function newTail() {
  return { offset: null, text: '', decoder: new TextDecoder(), gaps: 0 };
}

/** Shows state and both streams of the job; `ask` fetches with the token, `isStill` says whether it is still chosen. */
export async function showJobOutput(job, tails, ask, isStill) {
  const removed =
    job.outputRemoved === null ? '' : say(' Its output is not kept any more: {0}.', job.outputRemoved);
  const hidden = job.hidden ? say('; what it prints is for its owner and operators') : '';
  setText(byId('output-reason'), `${sayState(job.state)}: ${job.reason}${removed}${hidden}`);
  document.querySelector('#output .streams').hidden = job.hidden;
  if (job.hidden) return;
  await Promise.all([
    showStream(job, 'stdout', job.stdoutBytes, tails, ask, isStill),
    showStream(job, 'stderr', job.stderrBytes, tails, ask, isStill),
  ]);
}

/** Gaps of a stream with their places in what is kept (as protocol/output-gap.ts). */
function gapsOf(job, stream) {
  let missing = 0;
  return (job.result?.gaps ?? [])
    .filter((gap) => gap.stream === stream && gap.toByte > gap.fromByte)
    .sort((a, b) => a.fromByte - b.fromByte)
    .map((gap) => {
      const placed = {
        atByte: Math.max(0, gap.fromByte - missing),
        bytes: gap.toByte - gap.fromByte,
        reason: gap.reason,
      };
      missing += placed.bytes;
      return placed;
    });
}

function describeGap(gap) {
  const why = {
    quota: say('by its quota'),
    disk: say('as the disk refused them'),
    lost: say('as its shim was killed'),
  };
  return say('{0} left out {1}', scaled(gap.bytes, 1000, 'B'), why[gap.reason] ?? gap.reason);
}

async function showStream(job, stream, length, tails, ask, isStill) {
  const tail = tails[stream];
  const gaps = gapsOf(job, stream);
  const hidden = Math.max(0, length - OUTPUT_BYTES);
  const size = scaled(length, 1024, 'B');
  const head = [hidden === 0 ? size : say('{0}, the last 64 KiB', size), ...gaps.map(describeGap)];
  setText(byId(`${stream}-size`), head.join(' · '));
  // Gaps are known with the result: what is shown is read again, with them in their places.
  if (gaps.length !== tail.gaps) Object.assign(tail, newTail(), { gaps: gaps.length });
  const from = tail.offset ?? hidden;
  if (from >= length) return;
  // Far behind: jump instead of catching up.
  const start = Math.max(from, hidden);
  if (start > from) Object.assign(tail, newTail(), { gaps: gaps.length });
  const response = await ask(`/v1/jobs/${job.id}/output?stream=${stream}&offset=${start}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (!isStill(tail, stream)) return;
  append(tail, start, bytes, gaps);
  const place = byId(stream);
  const atEnd = place.scrollHeight - place.scrollTop - place.clientHeight < 40;
  setText(place, tail.text);
  if (atEnd) place.scrollTop = place.scrollHeight;
}

/** Adds what was fetched, each gap as a line of its own where it lies. */
function append(tail, start, bytes, gaps) {
  const end = start + bytes.byteLength;
  let at = start;
  for (const gap of gaps.filter(({ atByte }) => atByte >= start && atByte <= end)) {
    tail.text += readable(tail.decoder.decode(bytes.subarray(at - start, gap.atByte - start)));
    tail.text += `\n[${describeGap(gap)}]\n`;
    at = gap.atByte;
  }
  tail.text += readable(tail.decoder.decode(bytes.subarray(at - start), { stream: true }));
  tail.text = tail.text.slice(-OUTPUT_BYTES);
  tail.offset = end;
}

/** Terminal colours mean nothing here; other control characters are shown as a mark. */
function readable(text) {
  return text
    .replace(/(?![\n\r\t])\p{Cc}\[[0-9;?]*[ -/]*[@-~]/gu, '')
    .replace(/(?![\n\r\t])\p{Cc}|[\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, '\u00b7');
}
