import { describe, expect, it } from 'vitest';
import { formatPeakFlops, parseFlops, parsePeakFlops } from '../../../src/config/peak-flops.ts';
import { ValueProblem } from '../../../src/config/value.ts';
import { precisions } from '../../../src/protocol/device.ts';

const asObject = (value: unknown): unknown => Object.fromEntries(parsePeakFlops(value));

describe('peaks that the operator states', () => {
  it('are read from one line and from sections alike', () => {
    const expected = { 'nvidia h20': { bf16: 148e12, fp8: 296e12 }, 'gpu-4f': { fp16: 80e12 } };
    expect(asObject('NVIDIA H20=bf16:148T,fp8:296T; GPU-4f=fp16:80T')).toEqual(expected);
    expect(
      asObject({ 'NVIDIA H20': { bf16: '148T', fp8: 296e12 }, 'GPU-4f': { FP16: '80 TFLOPS' } }),
    ).toEqual(expected);
  });

  it.each([
    ['989T', 989e12],
    ['1.979P', 1979e12],
    ['44e12', 44e12],
    ['66.9 TFLOP/s', 66.9e12],
    ['1304TOPS', 1304e12],
    ['2E', 2e18],
    [5e11, 5e11],
  ])('takes %s', (text, flops) => {
    expect(parseFlops(text)).toBeCloseTo(flops, -3);
  });

  it.each([
    ['H20', /without an equals sign/],
    ['H20=', /PRECISION:AMOUNT/],
    ['H20=bf16', /PRECISION:AMOUNT/],
    ['H20=bf16:1T:2T', /PRECISION:AMOUNT/],
    ['H20=bf17:1T', /unknown precision "bf17"/],
    ['H20=bf16:989', /too small: is a unit missing/],
    ['H20=bf16:989X', /no amount/],
    ['H20=bf16:-1T', /no amount/],
    ['H20=bf16:1e40T', /no amount|too large/],
    ['H20=bf16:1T,bf16:2T', /twice/],
    ['H20=bf16:1T;h20=fp8:1T', /twice/],
    ['=bf16:1T', /device name/],
    [{ H20: '989T' }, /no section/],
    [{ H20: {} }, /without a precision/],
    [{ H20: { bf16: null } }, /no amount/],
    [{ H20: { bf16: { a: 1 } } }, /no amount/],
    [[], /not peaks/],
    [null, /not peaks/],
    [5, /not peaks/],
    ['x'.repeat(200).concat('=bf16:1T'), /device name/],
  ])('refuses %j with a line that says why', (value, why) => {
    expect(() => parsePeakFlops(value)).toThrow(why);
    try {
      parsePeakFlops(value);
    } catch (error) {
      expect(error).toBeInstanceOf(ValueProblem);
      expect((error as ValueProblem).remedy).toMatch(/^write /);
    }
  });

  it('know every precision, and read back what they write', () => {
    const line = `any=${precisions.map((each) => `${each}:1T`).join(',')}; Z100=fp16:12.3T`;
    const peaks = parsePeakFlops(line);
    expect(parsePeakFlops(formatPeakFlops(peaks))).toEqual(peaks);
    expect(formatPeakFlops(new Map())).toBe('');
  });
});
