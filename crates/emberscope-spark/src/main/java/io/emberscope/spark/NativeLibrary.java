package io.emberscope.spark;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Locale;

/** Finds the native library: where the configuration says, else in the jar, else where the system looks. */
final class NativeLibrary {
    private static final String NAME = "emberscope_lttng";

    private NativeLibrary() {}

    /**
     * Loads the library.
     *
     * @param configured a path, or null
     * @throws IOException when it cannot be unpacked
     * @throws LinkageError when it, or LTTng's, is not there, or it is not the one that this jar was built with
     */
    static void load(String configured) throws IOException {
        if (configured != null) {
            System.load(Paths.get(configured).toAbsolutePath().toString());
        } else {
            try (InputStream packed = NativeLibrary.class.getResourceAsStream(resource())) {
                if (packed == null) {
                    System.loadLibrary(NAME);
                } else {
                    unpackAndLoad(packed);
                }
            }
        }
        if (Tracepoints.revision() != Tracepoints.REVISION) {
            throw new UnsatisfiedLinkError("the library is of another version of Emberscope than the jar");
        }
    }

    /** Where the jar has the library for this machine, if it has. */
    private static String resource() {
        String system = System.getProperty("os.name", "").toLowerCase(Locale.ROOT);
        String machine = System.getProperty("os.arch", "").toLowerCase(Locale.ROOT);
        return "native/" + system + "-" + (machine.equals("amd64") ? "x86_64" : machine) + "/lib" + NAME + ".so";
    }

    /** The file is gone again when this returns: the system keeps what it has mapped. */
    private static void unpackAndLoad(InputStream packed) throws IOException {
        Path folder = Files.createTempDirectory("emberscope-");
        Path library = folder.resolve("lib" + NAME + ".so");
        try {
            Files.copy(packed, library);
            System.load(library.toString());
        } finally {
            Files.deleteIfExists(library);
            Files.deleteIfExists(folder);
        }
    }
}
