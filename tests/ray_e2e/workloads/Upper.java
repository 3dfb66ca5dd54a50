import java.nio.file.Files;
import java.nio.file.Paths;

public class Upper {
  public static int upper(String source, String target) throws java.io.IOException {
    String text = new String(Files.readAllBytes(Paths.get(source)));
    Files.write(Paths.get(target), text.toUpperCase().getBytes());
    return text.length();
  }
}
