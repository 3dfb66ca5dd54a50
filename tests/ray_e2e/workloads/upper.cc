#include <cctype>
#include <fstream>
#include <iterator>
#include <string>

#include <ray/api.h>

int Upper(std::string source, std::string target) {
  std::ifstream in(source);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  for (char &letter : text) letter = std::toupper(letter);
  std::ofstream(target) << text;
  return text.size();
}
RAY_REMOTE(Upper);
