import { ApiError, getBuffer } from "../lib/api";

const LOOKS = 20;

/** The bytes of a medium, which may still be on their way to the server. */
export async function arrived(address: string, signal: AbortSignal): Promise<ArrayBuffer> {
  for (let looks = 1; ; looks += 1) {
    try {
      return await getBuffer(address, signal);
    } catch (failure) {
      if (!(failure instanceof ApiError && failure.status === 404) || looks === LOOKS) throw failure;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}
