/** The lowest and the highest sample of each piece of a sound, over all its channels. */
export interface Peaks {
  low: Float32Array;
  high: Float32Array;
}

/** `pieces`: how many there shall be; a sound of fewer samples has as many. */
export function peaksOf(channels: readonly Float32Array[], pieces: number): Peaks {
  const samples = Math.max(0, ...channels.map((channel) => channel.length));
  const count = Math.max(0, Math.min(pieces, samples));
  const low = new Float32Array(count);
  const high = new Float32Array(count);
  for (const channel of channels)
    for (let piece = 0; piece < count; piece++) {
      const end = Math.floor(((piece + 1) * samples) / count);
      for (let place = Math.floor((piece * samples) / count); place < end; place++) {
        const sample = channel[place] ?? 0;
        if (sample < low[piece]!) low[piece] = sample;
        if (sample > high[piece]!) high[piece] = sample;
      }
    }
  return { low, high };
}

/** Seconds as a player shows them. */
export function playTime(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  const whole = Math.floor(seconds);
  const minutes = Math.floor(whole / 60) % 60;
  const hours = Math.floor(whole / 3600);
  const two = (part: number) => String(part).padStart(2, "0");
  const short = seconds < 60 ? (seconds % 60).toFixed(1).padStart(4, "0") : two(whole % 60);
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${short}`;
}

/** Where a key leads in a sound, in seconds; null: it leads nowhere. */
export function soughtBy(key: string, at: number, duration: number): number | null {
  const little = Math.min(5, duration / 20);
  const steps: Record<string, number> = {
    ArrowLeft: at - little,
    ArrowDown: at - little,
    ArrowRight: at + little,
    ArrowUp: at + little,
    PageDown: at - duration / 5,
    PageUp: at + duration / 5,
    Home: 0,
    End: duration,
  };
  const to = steps[key];
  return to === undefined || !Number.isFinite(to) ? null : Math.max(0, Math.min(to, duration));
}
