/** Meshes and clouds of points, to be turned, moved and zoomed. */
import {
  AmbientLight,
  Box3,
  BufferGeometry,
  DirectionalLight,
  DoubleSide,
  LoadingManager,
  Mesh,
  MeshStandardMaterial,
  Object3D,
  PerspectiveCamera,
  Points,
  PointsMaterial,
  Scene,
  Sphere,
  Spherical,
  Vector3,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
import type { Draw } from "./main";

const HEIGHT = 400;
const MOST_RATIO = 2;
const KEYS = "Drag or arrow keys turn, Shift with them moves, Ctrl+wheel, + and - zoom, 0 resets.";

export const draw: Draw = async (place, { bytes, type, dark }, warn) => {
  const object = await read(bytes, type, warn);
  const box = new Box3().setFromObject(object);
  const { center, radius } = box.getBoundingSphere(new Sphere());
  if (box.isEmpty() || !Number.isFinite(radius) || !Number.isFinite(center.length()))
    throw new Error("There is nothing in it that has a place: no points, or none with finite coordinates.");
  const renderer = rendererOf();
  const canvas = renderer.domElement;
  const scene = new Scene().add(object);
  const camera = new PerspectiveCamera(45, 1, (radius || 1) / 500, (radius || 1) * 500);
  const light = new DirectionalLight(0xffffff, 2);
  camera.add(light.translateX(0.5).translateY(1));
  scene.add(camera, new AmbientLight(0xffffff, 1));
  renderer.setClearColor(dark ? 0x14181f : 0xffffff);

  // A plain wheel scrolls the page, as it does over charts.
  canvas.addEventListener("wheel", (event) => event.ctrlKey || event.stopImmediatePropagation(), {
    capture: true,
  });
  const controls = new OrbitControls(camera, canvas);
  controls.minDistance = (radius || 1) / 50;
  controls.maxDistance = (radius || 1) * 50;
  canvas.style.touchAction = "pan-y";
  const render = () => renderer.render(scene, camera);
  const reset = () => {
    controls.target.copy(center);
    camera.position
      .set(1, 0.7, 1.4)
      .setLength((radius || 1) * 2.8)
      .add(center);
    controls.update();
    render();
  };
  reset();
  controls.addEventListener("change", render);
  addKeys(canvas, camera, controls, reset);

  const told = document.createElement("p");
  told.textContent = `${countOf(object)}. ${KEYS}`;
  place.append(canvas, told);
  new ResizeObserver(() => {
    const width = place.clientWidth;
    renderer.setPixelRatio(Math.min(devicePixelRatio, MOST_RATIO));
    renderer.setSize(width, HEIGHT);
    camera.aspect = width / HEIGHT;
    camera.updateProjectionMatrix();
    render();
  }).observe(place);
  canvas.addEventListener("webglcontextlost", () =>
    warn("The graphics memory is gone: scroll away and back to draw it anew."),
  );
};

function rendererOf(): WebGLRenderer {
  try {
    return new WebGLRenderer({ antialias: true });
  } catch (error) {
    throw new Error(
      "This browser has no WebGL here, which 3-D needs; it may be switched off in its settings.",
      {
        cause: error,
      },
    );
  }
}

async function read(bytes: ArrayBuffer, type: string, warn: (text: string) => void): Promise<Object3D> {
  const manager = new LoadingManager();
  manager.setURLModifier((url) => {
    if (/^(data|blob):/i.test(url)) return url;
    const refused = `${url} was not loaded: what is drawn here reaches nothing outside.`;
    warn(refused);
    throw new Error(refused);
  });
  try {
    if (type === "model/ply") {
      const { PLYLoader } = await import("three/examples/jsm/loaders/PLYLoader.js");
      return upright(new PLYLoader(manager).parse(bytes));
    }
    if (type === "model/stl") {
      const { STLLoader } = await import("three/examples/jsm/loaders/STLLoader.js");
      return upright(new STLLoader(manager).parse(bytes), true);
    }
    if (type === "model/obj") {
      const { OBJLoader } = await import("three/examples/jsm/loaders/OBJLoader.js");
      return new OBJLoader(manager).parse(new TextDecoder().decode(bytes));
    }
    const { GLTFLoader } = await import("three/examples/jsm/loaders/GLTFLoader.js");
    return (await new GLTFLoader(manager).parseAsync(bytes, "")).scene;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(
      `The file cannot be read: it may be broken, or packed in a way that is not known here (${why}).`,
      {
        cause: error,
      },
    );
  }
}

/** What has only a geometry; z is up in such files, and y where they are drawn. */
function upright(geometry: BufferGeometry, faces = geometry.index !== null): Object3D {
  const vertexColors = geometry.hasAttribute("color");
  const color = vertexColors ? 0xffffff : 0x5f66ed;
  if (faces && !geometry.hasAttribute("normal")) geometry.computeVertexNormals();
  const object = faces
    ? new Mesh(geometry, new MeshStandardMaterial({ color, vertexColors, side: DoubleSide }))
    : new Points(geometry, new PointsMaterial({ color, vertexColors, size: 3, sizeAttenuation: false }));
  object.rotation.x = -Math.PI / 2;
  return object;
}

function countOf(object: Object3D): string {
  let points = 0;
  let faces = 0;
  object.traverse((part) => {
    const geometry = (part as Mesh).geometry as BufferGeometry | undefined;
    const count = geometry?.getAttribute("position")?.count ?? 0;
    if ((part as Mesh).isMesh) faces += Math.floor((geometry?.index?.count ?? count) / 3);
    else points += count;
  });
  const parts = [
    points ? `${points.toLocaleString("en")} points` : "",
    faces ? `${faces.toLocaleString("en")} faces` : "",
  ];
  return parts.filter(Boolean).join(", ") || "Empty";
}

function addKeys(
  canvas: HTMLCanvasElement,
  camera: PerspectiveCamera,
  controls: OrbitControls,
  reset: () => void,
): void {
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", `3-D view. ${KEYS}`);
  const turns: Record<string, readonly [across: number, along: number]> = {
    ArrowLeft: [-1, 0],
    ArrowRight: [1, 0],
    ArrowUp: [0, -1],
    ArrowDown: [0, 1],
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const offset = camera.position.clone().sub(controls.target);
    const turn = turns[event.key];
    if (turn && event.shiftKey) {
      const by = offset.length() / 20;
      const move = new Vector3(turn[0] * by, -turn[1] * by, 0).applyQuaternion(camera.quaternion);
      controls.target.add(move);
      camera.position.add(move);
    } else if (turn) {
      const at = new Spherical().setFromVector3(offset);
      at.theta += turn[0] * 0.1;
      at.phi += turn[1] * 0.1;
      camera.position.setFromSpherical(at.makeSafe()).add(controls.target);
    } else if (event.key === "+" || event.key === "=" || event.key === "-") {
      const nearer = event.key === "-" ? 1.15 : 1 / 1.15;
      camera.position.copy(controls.target).add(offset.multiplyScalar(nearer));
    } else if (event.key !== "0") return;
    event.preventDefault();
    if (event.key === "0") reset();
    else controls.update();
  });
}
