/** How two pictures of one size differ, pixel by pixel. */
export interface ImageDifference {
  /** RGBA: grey where they are the same, the brighter the more they differ. */
  pixels: Uint8ClampedArray<ArrayBuffer>;
  /** Share of pixels that differ at all, 0 to 1. */
  share: number;
  /** Mean difference of a pixel's strongest channel, 0 to 255. */
  mean: number;
}

/** `a`, `b`: RGBA of as many pixels each. */
export function imageDifference(a: Uint8ClampedArray, b: Uint8ClampedArray): ImageDifference {
  const pixels = new Uint8ClampedArray(a.length);
  let differing = 0;
  let sum = 0;
  for (let at = 0; at < a.length; at += 4) {
    let most = 0;
    for (let channel = 0; channel < 4; channel++)
      most = Math.max(most, Math.abs(a[at + channel]! - b[at + channel]!));
    if (most) differing += 1;
    sum += most;
    // What is the same stays faintly in sight, so that one sees where the rest lies.
    const faint = (a[at]! + a[at + 1]! + a[at + 2]!) / 24;
    pixels[at] = most ? 96 + most * 0.62 : faint;
    pixels[at + 1] = most ? most * 0.6 : faint;
    pixels[at + 2] = most ? 0 : faint;
    pixels[at + 3] = 255;
  }
  const count = a.length / 4;
  return { pixels, share: count ? differing / count : 0, mean: count ? sum / count : 0 };
}

/** The last step that is not after `step`, of steps in ascending order; null: all are after it. */
export function stepAt(steps: readonly number[], step: number): number | null {
  return steps.findLast((own) => own <= step) ?? null;
}
